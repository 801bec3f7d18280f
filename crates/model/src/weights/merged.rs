//! The weights of a model with an adapter: each is merged in single precision when the decoder asks for it.

use candle_core::{DType, Tensor};

use super::{adapter::Adapter, mapped::MappedWeights, weight_source::WeightSource};
use crate::error::ModelError;

/// The weights of `base`, which are in single precision, as `adapter` changes them.
pub(super) struct MergedWeights<'a> {
    pub(super) base: Box<dyn WeightSource + 'a>,
    pub(super) adapter: &'a Adapter,
    /// The file of the adapter's tensors.
    pub(super) tensors: MappedWeights,
    /// The format of the result.
    pub(super) dtype: DType,
}

impl WeightSource for MergedWeights<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let weight = self.base.tensor(name, shape)?;
        let merged = self.adapter.apply(&self.tensors, name, weight)?;
        Ok(merged.to_dtype(self.dtype)?)
    }
}
