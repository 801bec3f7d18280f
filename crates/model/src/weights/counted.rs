//! A source that counts the bytes of the weights that it is asked for, and hands out stand-ins that take no memory.

use candle_core::{DType, Device, Tensor};
use leadspan_kernels::Weight;

use super::{projection::Projection, weight_source::WeightSource};
use crate::error::ModelError;

/// Counts the weights that a decoder asks for.
pub(crate) struct Counted<'s, 'p> {
    /// The source that is asked whether it has them; without one, only their shapes count.
    pub(crate) stored: Option<&'s mut dyn WeightSource>,
    /// Bytes of the weight of a product, by its name and the number of its elements.
    pub(crate) product_bytes: &'p (dyn Fn(&str, usize) -> u64 + Sync),
    /// Bytes of an element of every other weight.
    pub(crate) element_bytes: u64,
    /// The bytes so far.
    pub(crate) bytes: u64,
}

impl Counted<'_, '_> {
    fn check(&mut self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        match &mut self.stored {
            Some(stored) => stored.check(name, shape),
            None => Ok(()),
        }
    }
}

/// A tensor of this shape all of whose elements are one byte in memory.
pub(super) fn stand_in(shape: &[usize]) -> Result<Tensor, ModelError> {
    Ok(Tensor::zeros((), DType::U8, &Device::Cpu)?.broadcast_as(shape)?)
}

impl WeightSource for Counted<'_, '_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.check(name, shape)?;
        self.bytes += self.element_bytes * shape.iter().product::<usize>() as u64;
        stand_in(shape)
    }

    fn product(&mut self, name: &str, shape: [usize; 2], bias: Option<Weight>) -> Result<Projection, ModelError> {
        self.check(name, &shape)?;
        self.bytes += (self.product_bytes)(name, shape[0] * shape[1]);
        Ok(Projection::Dense {
            weight: Weight::constant_of(stand_in(&shape)?),
            bias,
        })
    }
}
