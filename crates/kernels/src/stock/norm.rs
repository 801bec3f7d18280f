//! Normalisation in stock operations.

use candle_core::{D, DType, Result, Tensor};

use crate::weight::Weight;

pub(crate) fn rms_norm(x: &Tensor, weight: &Weight, eps: f64) -> Result<Tensor> {
    if !x.track_op() && !weight.tensor().track_op() {
        return candle_nn::ops::rms_norm(&x.contiguous()?, weight.tensor(), eps as f32);
    }
    multiplied(x, &weight.tensor().to_dtype(DType::F32)?, eps)
}

/// In single precision: 1 + w has fewer digits in a narrower format than w.
pub(crate) fn rms_norm_around_one(x: &Tensor, weight: &Weight, eps: f64) -> Result<Tensor> {
    multiplied(x, &(weight.tensor().to_dtype(DType::F32)? + 1.0)?, eps)
}

/// The normalised rows of `x` times `factors`, which are in single precision.
fn multiplied(x: &Tensor, factors: &Tensor, eps: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    let normalised = x.broadcast_div(&(mean_square + eps)?.sqrt()?)?;
    normalised.broadcast_mul(factors)?.to_dtype(dtype)
}
