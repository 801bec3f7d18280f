//! A decoder that does not fit into memory: each layer is read when a pass comes to it, and dropped after it.
//!
//! Layers are outermost: a layer is read once for all batches of a pass. While it computes, another thread reads the next one,
//! so that two layers are in memory. Embeddings are the rows of the tokens that occur. The head is read when the layers are
//! gone: whole, or band by band. Operations and their order are those of a [`Decoder`](super::Decoder), so the results have the
//! same bits.
//!
//! Weights are read by threads of their own. The allocator returns the large blocks of such threads to the system when they are
//! freed, and the smaller ones serve the next layer or band.

use std::{
    borrow::Cow,
    panic::resume_unwind,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, SyncSender},
    },
    thread,
};

use candle_core::{Device, Tensor};
use leadspan_kernels::{Kernels, Packed, Weight};

use super::{
    EMBEDDING, HEAD, check_length, finish, layer::DecoderLayer, min_rows::MIN_ROWS, norm::RmsNorm,
    rotary::RotaryTables, scale_embeddings, sizes::WeightSizes, weight_names::weight_names,
};
use crate::{
    config::DecoderConfig,
    device::StoredDtype,
    error::ModelError,
    stop::Stop,
    weights::{projection::Projection, source::ModelSource, weight_source::WeightSource},
};

/// A decoder in CPU memory whose layers are in memory only while they are needed.
pub struct StreamedDecoder<'a> {
    config: DecoderConfig,
    dtype: StoredDtype,
    weights: Mutex<Box<dyn WeightSource + 'a>>,
    norm: RmsNorm,
    rotary: RotaryTables,
    kernels: Kernels,
    sizes: WeightSizes,
}

/// The head of a [`StreamedDecoder`], ready for use.
#[derive(Debug)]
pub enum StreamedHead {
    /// In memory.
    Whole(StreamedProjection),
    /// Read band by band whenever it is used.
    Bands {
        /// Rows of the head in a band.
        rows: usize,
    },
}

/// A projection that was read.
#[derive(Debug)]
pub struct StreamedProjection(Projection);

impl StreamedHead {
    /// The most bytes of a band. Wider bands are not faster.
    pub const BAND_BYTES: u64 = 32 << 20;
}

impl<'a> StreamedDecoder<'a> {
    /// Opens a model for inference. Looks at every weight, but reads only the last normalisation, and what must be read to see
    /// whether it can be.
    ///
    /// # Errors
    ///
    /// If a weight is missing, cannot be read, does not fit the configuration, or is none of the architecture's.
    pub fn open(source: &'a ModelSource, dtype: StoredDtype, kernels: Kernels) -> Result<Self, ModelError> {
        let config = source.config().clone();
        let mut weights = source.weights(weight_names, dtype, &Device::Cpu)?;
        Ok(Self {
            sizes: WeightSizes::checked(source, dtype, weights.as_mut())?,
            norm: RmsNorm::last(&config, weights.as_mut())?,
            rotary: RotaryTables::new(&config, weights.pairing(), &Device::Cpu)?,
            weights: Mutex::new(weights),
            config,
            dtype,
            kernels,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The form of its operations.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// The final hidden states of each of several batches, as [`Decoder::hidden_states`](super::Decoder::hidden_states) gives
    /// them for one. Every layer is read once. Calls `after_layer` after each of them.
    ///
    /// # Errors
    ///
    /// As [`Decoder::hidden_states`](super::Decoder::hidden_states); the errors of `after_layer`; a weight that cannot be read.
    pub fn hidden_states(
        &self,
        batches: &[Packed],
        stop: Stop<'_>,
        after_layer: &mut dyn FnMut() -> Result<(), ModelError>,
    ) -> Result<Vec<Tensor>, ModelError> {
        let filled: Vec<Cow<'_, Packed>> = batches
            .iter()
            .map(|packed| packed.filled_up_to(MIN_ROWS).map_or(Cow::Borrowed(packed), Cow::Owned))
            .collect();
        let mut weights = self.weights();
        let weights = weights.as_mut();
        let mut hidden: Vec<Tensor> = filled
            .iter()
            .map(|packed| self.embed(packed, weights))
            .collect::<Result<_, _>>()?;
        thread::scope(|scope| {
            // The channel holds nothing: beside the layer that computes there is only the one that is being read.
            let (reader, layers) = mpsc::sync_channel(0);
            scope.spawn(move || self.read_layers(weights, stop, &reader));
            for layer in layers {
                let layer = layer?;
                for (hidden, packed) in hidden.iter_mut().zip(&filled) {
                    stop.check()?;
                    *hidden = layer.forward(hidden, packed, &self.rotary, self.kernels)?;
                }
                drop(layer);
                after_layer()?;
            }
            Ok::<_, ModelError>(())
        })?;
        let finished = hidden.iter().zip(batches).map(|(hidden, packed)| {
            let last = finish(&self.norm, &self.config, hidden, self.kernels.into())?;
            Ok(last.narrow(0, 0, packed.tokens().len())?)
        });
        finished.collect()
    }

    /// Reads layer after layer, until nobody receives them.
    fn read_layers(
        &self,
        weights: &mut (dyn WeightSource + 'a),
        stop: Stop<'_>,
        reader: &SyncSender<Result<DecoderLayer, ModelError>>,
    ) {
        for index in 0..self.config.num_hidden_layers {
            let layer = stop
                .check()
                .and_then(|()| DecoderLayer::build(&self.config, weights, index));
            let is_last = layer.is_err();
            if reader.send(layer).is_err() || is_last {
                return;
            }
        }
    }

    /// The embeddings of the tokens, `[N, H]`.
    fn embed(&self, packed: &Packed, weights: &mut dyn WeightSource) -> Result<Tensor, ModelError> {
        check_length(packed, &self.config)?;
        let rows = weights.rows(EMBEDDING, self.head_shape(), packed.tokens())?;
        Ok(scale_embeddings(&self.config, rows)?)
    }

    /// The head, whole if it takes at most `most_bytes`, and otherwise in bands that take no more. A `native` head is always
    /// whole.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn head(&self, most_bytes: u64) -> Result<StreamedHead, ModelError> {
        if self.sizes.head > most_bytes && self.dtype != StoredDtype::Native {
            let row_bytes = (self.config.hidden_size * self.dtype.dense().size_in_bytes()) as u64;
            let rows = (most_bytes.min(StreamedHead::BAND_BYTES) / row_bytes.max(1)).max(1);
            return Ok(StreamedHead::Bands {
                rows: usize::try_from(rows).unwrap_or(usize::MAX),
            });
        }
        let mut weights = self.weights();
        let weights = weights.as_mut();
        let head = apart(|| weights.product(self.head_name(), self.head_shape(), None))?;
        Ok(StreamedHead::Whole(StreamedProjection(head)))
    }

    /// The logits of chosen hidden states, in single precision. The caller bounds N.
    ///
    /// # Shapes
    ///
    /// `rows` is `[N, H]`; the result is `[N, V]`.
    ///
    /// # Errors
    ///
    /// If the head cannot be read.
    pub fn logits(&self, head: &StreamedHead, rows: &Tensor) -> Result<Tensor, ModelError> {
        let band_rows = match head {
            StreamedHead::Whole(StreamedProjection(head)) => return Ok(head.scores(rows, self.kernels)?),
            StreamedHead::Bands { rows } => *rows,
        };
        let mut weights = self.weights();
        let weights = weights.as_mut();
        let vocabulary = self.config.vocab_size;
        let mut bands = Vec::with_capacity(vocabulary.div_ceil(band_rows));
        for first in (0..vocabulary).step_by(band_rows) {
            let wanted: Vec<u32> = (first as u32..(first + band_rows).min(vocabulary) as u32).collect();
            let weight = apart(|| weights.rows(self.head_name(), self.head_shape(), &wanted))?;
            let band = Projection::Dense {
                weight: Weight::constant_of(weight),
                bias: None,
            };
            bands.push(band.scores(rows, self.kernels)?);
        }
        Ok(Tensor::cat(&bands, 1)?)
    }

    fn head_name(&self) -> &'static str {
        if self.config.tie_word_embeddings {
            EMBEDDING
        } else {
            HEAD
        }
    }

    /// The shape of the head, and of the embedding.
    fn head_shape(&self) -> [usize; 2] {
        [self.config.vocab_size, self.config.hidden_size]
    }

    fn weights(&self) -> MutexGuard<'_, Box<dyn WeightSource + 'a>> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `read` on a thread of its own.
fn apart<T: Send>(read: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(read).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

#[cfg(test)]
mod tests;
