//! The gated nonlinearity with GELU in stock operations.

use candle_core::{DType, Result, Tensor};

/// In single precision: the library's GELU rounds every step to the dtype of its input.
pub(crate) fn geglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.to_dtype(DType::F32)?.gelu()?.to_dtype(gate.dtype())? * up
}
