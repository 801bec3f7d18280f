//! y = x · Wᵀ + b, added to a residual stream if one is given.
//!
//! Backward, with g the gradient of y: ∂x = g · W; ∂W = gᵀ · x; ∂b = Σ_rows g. No weight is ever transposed in memory, and
//! the gradients of W and b are accumulated in place.

use candle_core::{Result, Tensor};

use crate::{Kernels, cpu, stock, tape::Pass, weight::Weight};

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`, plus `bias` `[out]`, plus `residual` `[N, out]`.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn linear<'a>(
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Weight>,
    residual: Option<&Tensor>,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor> {
    let pass = pass.into();
    if pass.uses_skinny_product(x) {
        return cpu::linear::skinny_linear(x, weight, bias, residual);
    }
    if pass.fuse(x) {
        let operation = cpu::linear::Linear::new(weight, bias);
        let x = x.contiguous()?;
        return match residual {
            None => pass.one(&x, operation),
            Some(residual) => pass.two([&x, &residual.contiguous()?], operation),
        };
    }
    stock::linear::linear(x, weight, bias, residual)
}

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`, untracked: the logits of a head without a graph.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if x.dim(1)? == weight.dim(1)? && Kernels::Fused.fuse(x) && Kernels::Fused.fuse(weight) {
        cpu::linear::project(x, weight)
    } else {
        stock::linear::project(x, weight)
    }
}

/// The gradient of `x` in [`project`] from the gradient of its result: `gradient` `[N, out]` times `weight` `[out, in]`.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn project_back(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if gradient.dim(1)? == weight.dim(0)? && Kernels::Fused.fuse(gradient) && Kernels::Fused.fuse(weight) {
        cpu::linear::project_back(gradient, weight)
    } else {
        stock::linear::project_back(gradient, weight)
    }
}
