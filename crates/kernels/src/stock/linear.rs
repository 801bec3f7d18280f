//! Linear operations in stock operations.

use candle_core::{DType, Result, Tensor};

use crate::weight::Weight;

pub(crate) fn linear(x: &Tensor, weight: &Weight, bias: Option<&Weight>, residual: Option<&Tensor>) -> Result<Tensor> {
    let mut y = x.matmul(&weight.tensor().t()?)?;
    if let Some(bias) = bias {
        // In single precision, so that the bias's gradient, a sum over all rows, is summed in single precision as well.
        let (wide, bias) = (y.to_dtype(DType::F32)?, bias.tensor().to_dtype(DType::F32)?);
        y = wide.broadcast_add(&bias)?.to_dtype(y.dtype())?;
    }
    match residual {
        Some(residual) => residual + y,
        None => Ok(y),
    }
}

pub(crate) fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.detach().matmul(&weight.detach().t()?)
}

pub(crate) fn project_back(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    gradient.detach().matmul(&weight.detach())
}
