//! The weights of a model with an adapter: each is merged in single precision when the decoder asks for it.

use candle_core::{DType, Tensor};

use super::{
    adapter::Adapter,
    mapped::MappedWeights,
    weight_source::{WeightSource, chosen},
};
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

    fn rows(&mut self, name: &str, shape: [usize; 2], wanted: &[u32]) -> Result<Tensor, ModelError> {
        if self.adapter.changes(name) {
            return chosen(&self.tensor(name, &shape)?, wanted);
        }
        Ok(self.base.rows(name, shape, wanted)?.to_dtype(self.dtype)?)
    }

    fn check(&mut self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        if self.adapter.changes(name) {
            return self.tensor(name, shape).map(drop);
        }
        self.base.check(name, shape)
    }
}
