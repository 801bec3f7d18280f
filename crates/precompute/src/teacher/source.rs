//! What the teacher of a pipeline is, before it runs.

use std::{
    path::Path,
    sync::{OnceLock, atomic::AtomicBool},
};

use candle_core::Device;
use leadspan_cache::TeacherIdentity;
use leadspan_model::{
    Decoder, ForwardFlops, ModelError, ModelSource, StreamedDecoder, TokenizerBundle, WeightSizes, open_device,
};

use super::{
    ServerWait, Teacher,
    positions::Reduction,
    resident::Resident,
    served::{ServedSource, refuse_without_server},
    streamed::Streamed,
    streaming::{Amounts, Footprint, Streaming},
};
use crate::{
    Pipeline, PrecomputeError,
    stamp::Stamp,
    weights::{self, WeightsHash},
};

/// The teacher of a pipeline, of which only the configuration has been read.
pub(crate) struct TeacherSource<'a> {
    pipeline: &'a Pipeline,
    kind: Kind,
}

enum Kind {
    Resident {
        source: Box<ModelSource>,
        /// The files of the weights before anything reads them, so that what is hashed is what is loaded.
        stamps: Option<Vec<Stamp>>,
        device: OnceLock<Device>,
    },
    Served(Box<ServedSource>),
}

/// The bounds of the samples of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most tokens of a sample if the settings do not say.
    pub(crate) fitting: Option<usize>,
    /// The most tokens of a sample that the model takes.
    pub(crate) context: Option<usize>,
    /// The number of tokens that the model knows.
    pub(crate) vocabulary: Option<usize>,
}

impl Limits {
    /// Those of a model that leadspan runs.
    pub(crate) fn of(source: &ModelSource) -> Self {
        let config = source.config();
        Self {
            fitting: Some(config.context()),
            context: Some(config.context()),
            vocabulary: Some(config.vocab_size),
        }
    }
}

impl<'a> TeacherSource<'a> {
    /// Opens the teacher of a pipeline.
    ///
    /// # Errors
    ///
    /// If it is not there, or its configuration is damaged or not supported; if the settings contradict each other.
    pub(crate) fn open(pipeline: &'a Pipeline) -> Result<Self, PrecomputeError> {
        pipeline.teacher.check()?;
        let kind = if let Some(address) = &pipeline.teacher.server {
            Kind::Served(Box::new(ServedSource::open(pipeline, address)?))
        } else {
            refuse_without_server(&pipeline.teacher)?;
            let source = Box::new(pipeline.open_teacher()?);
            Kind::Resident {
                stamps: weights::stamps(&source),
                device: OnceLock::new(),
                source,
            }
        };
        Ok(Self { pipeline, kind })
    }

    /// The path of its files.
    pub(crate) fn path(&self) -> &Path {
        match &self.kind {
            Kind::Resident { source, .. } => source.path(),
            Kind::Served(source) => source.path(),
        }
    }

    /// Its files as a model, if leadspan could run it.
    pub(crate) fn model(&self) -> Option<&ModelSource> {
        match &self.kind {
            Kind::Resident { source, .. } => Some(source),
            Kind::Served(source) => source.model(),
        }
    }

    /// The bounds of its samples. A server says its context itself, when it is reached.
    pub(crate) fn limits(&self) -> Limits {
        match &self.kind {
            Kind::Resident { source, .. } => Limits::of(source),
            Kind::Served(source) => Limits {
                fitting: source.context,
                context: None,
                vocabulary: Some(source.vocabulary()),
            },
        }
    }

    /// Its tokenizer.
    ///
    /// # Errors
    ///
    /// If it is missing, damaged or not supported.
    pub(crate) fn tokenizer(&self) -> Result<TokenizerBundle, ModelError> {
        match &self.kind {
            Kind::Resident { source, .. } => source.tokenizer(),
            Kind::Served(source) => source.tokenizer(),
        }
    }

    /// The operations of one pass, if its architecture is known.
    pub(crate) fn flops(&self) -> Option<ForwardFlops> {
        self.model().map(|source| ForwardFlops::of(source.config()))
    }

    /// Opens the device, or reaches the server. Calls `waiting` while the server does not answer.
    ///
    /// # Errors
    ///
    /// If there is no such device; if the server cannot be reached in time or is not the teacher.
    pub(crate) fn reach(&self, stop: &AtomicBool, waiting: &mut dyn FnMut(ServerWait)) -> Result<(), PrecomputeError> {
        match &self.kind {
            Kind::Resident { device, .. } => {
                if device.get().is_none() {
                    // Only this thread sets it.
                    let _ = device.set(open_device(&self.pipeline.teacher.device)?);
                }
            }
            Kind::Served(source) => drop(source.reach(self.pipeline, stop, waiting)?),
        }
        Ok(())
    }

    /// Reaches the server, if there is one.
    ///
    /// # Errors
    ///
    /// Those of [`reach`](Self::reach).
    pub(crate) fn reach_server(&self, waiting: &mut dyn FnMut(ServerWait)) -> Result<(), PrecomputeError> {
        match &self.kind {
            Kind::Resident { .. } => Ok(()),
            Kind::Served(_) => self.reach(&AtomicBool::new(false), waiting),
        }
    }

    /// The hash of its weights, if it has some: reads them all, unless the cache remembers it.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub(crate) fn weights_hash(&self, cache_dir: &Path) -> Result<Option<WeightsHash>, PrecomputeError> {
        match &self.kind {
            Kind::Resident { source, .. } => Ok(Some(weights::fingerprint(source, cache_dir)?)),
            Kind::Served(_) => Ok(None),
        }
    }

    /// Its part of the identity; without the hash of the weights it is not complete. `stored` is that of a cache that is there already;
    /// it stands for what a server says of itself that was not reached.
    ///
    /// # Errors
    ///
    /// If a server does not answer as the cache remembers.
    pub(crate) fn identity(
        &self,
        weights: Option<&WeightsHash>,
        stored: Option<&TeacherIdentity>,
    ) -> Result<TeacherIdentity, PrecomputeError> {
        match &self.kind {
            Kind::Resident { source, .. } => Ok(TeacherIdentity {
                config_blake3: source.config_fingerprint(),
                weights_blake3: weights.map(|weights| weights.blake3.clone()).unwrap_or_default(),
                lora_blake3: weights.and_then(|weights| weights.adapter_blake3.clone()),
                dtype: self.pipeline.teacher.dtype.as_str().to_owned(),
                server: None,
                imported: None,
            }),
            Kind::Served(source) => source.identity(&self.pipeline.teacher, stored),
        }
    }

    /// How its weights are streamed; `None` if they fit into the memory that they may take, or a server has them.
    ///
    /// # Errors
    ///
    /// If `teacher.memory` is set, and the configuration has a size that does not fit into memory.
    pub(crate) fn streaming(&self) -> Result<Option<Streaming>, PrecomputeError> {
        if let Some(memory) = self.pipeline.teacher.memory {
            let footprint = self.footprint()?;
            return Ok(footprint.and_then(|footprint| footprint.within(memory.bytes())));
        }
        // A configuration that claims too much is refused when the weights are read.
        let (Some(available), Ok(Some(footprint))) = (self.pipeline.available_memory, self.footprint()) else {
            return Ok(None);
        };
        Ok(footprint.on_machine(available))
    }

    /// A prediction of its memory in bytes if all its weights are in memory; `None` on another device than the CPU, or if it is unknown.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.footprint()
            .ok()
            .flatten()
            .map(|footprint| footprint.resident_bytes())
    }

    /// What it takes on the CPU; `None` on another device, and if a server has it.
    fn footprint(&self) -> Result<Option<Footprint>, PrecomputeError> {
        let Pipeline { teacher, cache, .. } = self.pipeline;
        let Kind::Resident { source, .. } = &self.kind else {
            return Ok(None);
        };
        if teacher.device != "cpu" {
            return Ok(None);
        }
        let amounts = Amounts {
            batch_tokens: cache.batch_tokens_on(&Device::Cpu),
            logit_bytes: (cache.head_chunk_mib_on(&Device::Cpu) as u64) << 20,
        };
        let sizes = WeightSizes::of(source, teacher.dtype)?;
        Ok(Some(Footprint::of(&sizes, source.config(), teacher.dtype, amounts)))
    }

    /// Loads the teacher, or reaches the server.
    ///
    /// # Errors
    ///
    /// Those of [`reach`](Self::reach); weights that cannot be read.
    pub(crate) fn start(
        &self,
        stop: &AtomicBool,
        waiting: &mut dyn FnMut(ServerWait),
    ) -> Result<Box<dyn Teacher + '_>, PrecomputeError> {
        match &self.kind {
            Kind::Resident { source, device, .. } => {
                self.reach(stop, waiting)?;
                let Pipeline { teacher, cache, .. } = self.pipeline;
                let device = device.get().expect("the device was opened");
                if let Some(streaming) = self.streaming()? {
                    let decoder = StreamedDecoder::open(source, teacher.dtype, teacher.kernels.into())?;
                    let (vocabulary, chunk_mib) = (decoder.config().vocab_size, cache.head_chunk_mib_on(device));
                    return Ok(Box::new(Streamed {
                        decoder,
                        streaming,
                        reduction: Reduction::new(cache.entries(), chunk_mib, vocabulary),
                        batch_tokens: cache.batch_tokens_on(device),
                        require_unchanged: Box::new(|| self.require_unchanged()),
                    }));
                }
                let decoder = Decoder::load_with(source, teacher.dtype, device, teacher.kernels.into())?;
                Ok(Box::new(Resident::new(
                    decoder,
                    cache.entries(),
                    cache.head_chunk_mib_on(device),
                )))
            }
            Kind::Served(source) => Ok(Box::new(source.reach(self.pipeline, stop, waiting)?)),
        }
    }

    /// Refuses a teacher whose files changed since it was opened.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::TeacherChanged`].
    pub(crate) fn require_unchanged(&self) -> Result<(), PrecomputeError> {
        match &self.kind {
            Kind::Resident { source, stamps, .. } => weights::require_unchanged(source, stamps.as_deref()),
            Kind::Served(_) => Ok(()),
        }
    }
}
