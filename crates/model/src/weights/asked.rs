//! A source that notes the names of the weights that it is asked for, and hands out stand-ins that take no memory.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::{counted::stand_in, weight_source::WeightSource};
use crate::error::ModelError;

/// The names of the weights that a decoder asked for.
#[derive(Default)]
pub(crate) struct Asked(pub(crate) BTreeSet<String>);

impl WeightSource for Asked {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.0.insert(name.to_owned());
        stand_in(shape)
    }
}
