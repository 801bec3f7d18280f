//! What the teacher of a pipeline is, before it runs.

use candle_core::Device;
use leadspan_cache::TeacherIdentity;
use leadspan_model::{Decoder, ForwardFlops, ModelSource, open_device};

use super::{Teacher, resident::Resident};
use crate::{
    Pipeline, PrecomputeError,
    stamp::Stamp,
    weights::{self, WeightsHash},
};

/// The teacher of a pipeline: its files, of which only the configuration has been read.
pub(crate) struct TeacherSource<'a> {
    pipeline: &'a Pipeline,
    source: ModelSource,
    /// The files of the weights before anything reads them, so that what is hashed is what is loaded.
    stamps: Option<Vec<Stamp>>,
}

impl<'a> TeacherSource<'a> {
    /// Opens the teacher of a pipeline.
    ///
    /// # Errors
    ///
    /// If it is not there, or its configuration is damaged or not supported.
    pub(crate) fn open(pipeline: &'a Pipeline) -> Result<Self, PrecomputeError> {
        let source = ModelSource::open(&pipeline.model_path())?;
        Ok(Self {
            stamps: weights::stamps(&source),
            pipeline,
            source,
        })
    }

    /// Its files as a model.
    pub(crate) fn model(&self) -> &ModelSource {
        &self.source
    }

    /// The operations of one pass.
    pub(crate) fn flops(&self) -> ForwardFlops {
        ForwardFlops::of(self.source.config())
    }

    /// Its part of the identity; without the hash of the weights it is not complete.
    pub(crate) fn identity(&self, weights: Option<&WeightsHash>) -> TeacherIdentity {
        TeacherIdentity {
            config_blake3: self.source.config_fingerprint(),
            weights_blake3: weights.map(|weights| weights.blake3.clone()).unwrap_or_default(),
            dtype: self.pipeline.teacher.dtype.as_str().to_owned(),
        }
    }

    /// Opens the device.
    ///
    /// # Errors
    ///
    /// If there is no such device.
    pub(crate) fn device(&self) -> Result<Device, PrecomputeError> {
        Ok(open_device(&self.pipeline.teacher.device)?)
    }

    /// Loads the teacher on its device.
    ///
    /// # Errors
    ///
    /// If the weights cannot be read.
    pub(crate) fn start(&self, device: &Device) -> Result<Box<dyn Teacher>, PrecomputeError> {
        let Pipeline { teacher, cache, .. } = self.pipeline;
        let decoder = Decoder::load_with(&self.source, teacher.dtype, device, teacher.kernels.into())?;
        Ok(Box::new(Resident::new(
            decoder,
            cache.entries(),
            cache.head_chunk_mib_on(device),
        )))
    }

    /// Refuses a teacher whose files changed since it was opened.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::TeacherChanged`].
    pub(crate) fn require_unchanged(&self) -> Result<(), PrecomputeError> {
        weights::require_unchanged(&self.source, self.stamps.as_deref())
    }
}
