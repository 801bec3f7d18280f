//! The interface between a decoder and the place its weights come from.
//!
//! A decoder asks for each weight by its Hugging Face name. Files of either format and a student's variables answer; this
//! module knows neither them nor the decoder.

use std::sync::Arc;

use candle_core::{Tensor, quantized::QTensor};

use crate::{
    ModelError,
    kernels::{Pairing, Weight},
    weights::projection::Projection,
};

/// Where a decoder's weights come from, by their Hugging Face names.
pub(crate) trait WeightSource {
    /// A dense weight of the given shape.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError>;

    /// A dense parameter of the given shape.
    fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Weight, ModelError> {
        self.tensor(name, shape).map(Weight::constant_of)
    }

    /// The weight of a product, [out, in].
    fn product(&mut self, name: &str, shape: [usize; 2], bias: Option<Weight>) -> Result<Projection, ModelError> {
        Ok(Projection::Dense {
            weight: self.weight(name, &shape)?,
            bias,
        })
    }

    /// The token embedding, [vocabulary, hidden].
    fn embedding(&mut self, name: &str, shape: [usize; 2]) -> Result<Embedding, ModelError> {
        self.weight(name, &shape).map(Embedding::Dense)
    }

    /// Which elements of a head rotate together.
    fn pairing(&self) -> Pairing {
        Pairing::Halves
    }
}

/// The token embedding.
#[derive(Clone, Debug)]
pub(crate) enum Embedding {
    /// [vocabulary, hidden]
    Dense(Weight),
    Quantised(Arc<QTensor>),
}
