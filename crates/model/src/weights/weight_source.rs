//! The interface between a decoder and the source of its weights.
//!
//! A decoder asks for each weight by its Hugging Face name. Safetensors files, GGUF files and a student's variables
//! implement the interface; this module knows neither them nor the decoder.

use std::sync::Arc;

use candle_core::{Tensor, quantized::QTensor};
use leadspan_kernels::{Pairing, Weight};

use super::projection::Projection;
use crate::error::ModelError;

/// The source of a decoder's weights, by their Hugging Face names.
pub(crate) trait WeightSource: Send {
    /// A dense weight of the given shape.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError>;

    /// A dense parameter of the given shape.
    fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        self.tensor(name, shape).map(Weight::constant_of)
    }

    /// The weight of a matrix product, `[out, in]`.
    fn product(&mut self, name: &str, shape: [usize; 2], bias: Option<Weight>) -> Result<Projection, ModelError> {
        Ok(Projection::Dense {
            weight: self.weight(name, &shape)?,
            bias,
        })
    }

    /// The token embedding, `[V, H]`.
    fn embedding(&mut self, name: &str, shape: [usize; 2]) -> Result<Embedding, ModelError> {
        self.weight(name, &shape).map(Embedding::Dense)
    }

    /// Whether some products have low-rank adapters.
    fn adapts(&self) -> bool {
        false
    }

    /// Rows of a dense weight of the given shape, in the order of `wanted`: `[wanted, width]`. Where the file allows it, no
    /// other row is read.
    fn rows(&mut self, name: &str, shape: [usize; 2], wanted: &[u32]) -> Result<Tensor, ModelError> {
        chosen(&self.tensor(name, &shape)?, wanted)
    }

    /// Refuses a weight that cannot be read in the given shape. Reads no numbers where the file says enough without them.
    fn check(&mut self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        self.tensor(name, shape).map(drop)
    }

    /// Which elements of a head rotate together.
    fn pairing(&self) -> Pairing {
        Pairing::Halves
    }
}

/// Rows of a weight, in the order of `wanted`.
pub(crate) fn chosen(whole: &Tensor, wanted: &[u32]) -> Result<Tensor, ModelError> {
    let wanted = Tensor::from_slice(wanted, wanted.len(), whole.device())?;
    Ok(whole.index_select(&wanted, 0)?)
}

/// The token embedding.
#[derive(Clone, Debug)]
pub(crate) enum Embedding {
    /// `[V, H]`
    Dense(Weight),
    /// `[V, H]`, as a GGUF file stores it.
    Quantised(Arc<QTensor>),
}
