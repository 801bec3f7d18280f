//! Root-mean-square normalisation (arXiv 1910.07467): y = x / √(mean(x²) + ε) · w over the last dimension, computed
//! in single precision.
//!
//! Backward, with r = 1 / √(mean(x²) + ε), g the gradient of y and W the width: ∂w = Σ_rows g · x · r;
//! ∂x = r · (g · w) − x · r³ · mean(x · g · w).

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{cpu, form::Form, stock, tape::Pass, weight::Weight};

/// Normalises `x` `[.., W]` with `weight` `[W]`.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn rms_norm<'a>(x: &Tensor, weight: &Weight, eps: f64, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    let pass = pass.into();
    match pass.form(x) {
        Form::Cpu => pass.one(&x.contiguous()?, cpu::norm::RmsNorm::new(weight, eps, false)),
        #[cfg(feature = "cuda")]
        Form::Cuda if cuda::norm::has_kernel(x, weight) => {
            pass.one(&x.contiguous()?, cuda::norm::RmsNorm::new(weight, eps))
        }
        _ => stock::norm::rms_norm(x, weight, eps),
    }
}

/// Normalises `x` `[.., W]` with 1 + `weight` `[W]`: the weight is stored as its difference from 1 (Gemma).
///
/// # Errors
///
/// As [`rms_norm`].
pub fn rms_norm_around_one<'a>(x: &Tensor, weight: &Weight, eps: f64, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    let pass = pass.into();
    if pass.form(x) == Form::Cpu {
        return pass.one(&x.contiguous()?, cpu::norm::RmsNorm::new(weight, eps, true));
    }
    stock::norm::rms_norm_around_one(x, weight, eps)
}
