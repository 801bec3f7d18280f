//! The gated nonlinearity in stock operations.

use candle_core::{DType, Result, Tensor};

use crate::activation::Activation;

pub(crate) fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let activated = match activation {
        Activation::Silu => gate.silu()?,
        // In single precision: the library's GELU rounds every step to the dtype of its input.
        Activation::Gelu => gate.to_dtype(DType::F32)?.gelu()?.to_dtype(gate.dtype())?,
    };
    activated * up
}
