//! Root-mean-square normalisation (arXiv 1910.07467): x / √(mean(x²) + ε) · weight, in single precision inside.

use candle_core::{D, DType, Result, Tensor};

/// A normalisation over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    /// [width]
    pub(crate) weight: Tensor,
    pub(crate) eps: f64,
}

impl RmsNorm {
    /// Normalises `x` [.., width]; differentiable where `x` or the weight is part of a graph.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !x.track_op() && !self.weight.track_op() {
            return candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.eps as f32);
        }
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let normalised = x.broadcast_div(&(mean_square + self.eps)?.sqrt()?)?;
        normalised.to_dtype(dtype)?.broadcast_mul(&self.weight)
    }
}
