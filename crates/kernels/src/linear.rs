//! y = x · Wᵀ + b, added to a residual stream if one is given.
//!
//! Backward, with g the gradient of y: ∂x = g · W; ∂W = gᵀ · x; ∂b = Σ_rows g. No weight is ever transposed in memory, and
//! the gradients of W and b are accumulated in place.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{Kernels, cpu, form::Form, stock, tape::Pass, weight::Weight};

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
    match (pass.form(x), residual) {
        (Form::Cpu, None) => pass.one(&x.contiguous()?, cpu::linear::Linear::new(weight, bias)),
        (Form::Cpu, Some(residual)) => pass.two(
            [&x.contiguous()?, &residual.contiguous()?],
            cpu::linear::Linear::new(weight, bias),
        ),
        #[cfg(feature = "cuda")]
        (Form::Cuda, None) => pass.one(&x.contiguous()?, cuda::linear::Linear::new(weight, bias)),
        #[cfg(feature = "cuda")]
        (Form::Cuda, Some(residual)) => pass.two(
            [&x.contiguous()?, &residual.contiguous()?],
            cuda::linear::Linear::new(weight, bias),
        ),
        (Form::Stock, residual) => stock::linear::linear(x, weight, bias, residual),
    }
}

/// As [`linear`], plus `narrow` `[N, r]` times the transpose of `widen` `[out, r]`: the second half of what a low-rank adapter
/// adds to a product.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn linear_of_two<'a>(
    (x, weight, bias): (&Tensor, &Weight, Option<&Weight>),
    (narrow, widen): (&Tensor, &Weight),
    residual: Option<&Tensor>,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor> {
    let pass = pass.into();
    if pass.form(x) != Form::Cpu || pass.uses_skinny_product(x) {
        let sum = linear(x, weight, bias, residual, pass)?;
        return linear(narrow, widen, None, Some(&sum), pass);
    }
    let operation = cpu::linear_of_two::LinearOfTwo {
        first: cpu::linear::Linear::new(weight, bias),
        second: cpu::linear::Linear::new(widen, None),
    };
    let (x, narrow) = (x.contiguous()?, narrow.contiguous()?);
    match residual {
        None => pass.two([&x, &narrow], operation),
        Some(residual) => pass.three([&x, &narrow, &residual.contiguous()?], operation),
    }
}

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`, untracked: the logits of a head without a graph.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match common_form(x, weight) {
        Form::Cpu if x.dim(1)? == weight.dim(1)? => cpu::linear::project(x, weight),
        _ => stock::linear::project(x, weight),
    }
}

/// The gradient of `x` in [`project`] from the gradient of its result: `gradient` `[N, out]` times `weight` `[out, in]`.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn project_back(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match common_form(gradient, weight) {
        Form::Cpu if gradient.dim(1)? == weight.dim(0)? => cpu::linear::project_back(gradient, weight),
        _ => stock::linear::project_back(gradient, weight),
    }
}

/// `x` `[N, in]` times the transpose of `weight` `[out, in]` in single precision, if the factors' dtype has a product that
/// loses nothing on the way; `None` if it has none.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn project_widened<'a>(x: &Tensor, weight: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Option<Tensor>> {
    match pass.into().form(x) {
        #[cfg(feature = "cuda")]
        Form::Cuda if x.dtype() == weight.dtype() => cuda::linear::project(&x.contiguous()?, weight).map(Some),
        Form::Cpu => project(x, weight).map(Some),
        _ => Ok(None),
    }
}

/// The form that two tensors share.
fn common_form(x: &Tensor, y: &Tensor) -> Form {
    let form = Kernels::Fused.form(x);
    if Kernels::Fused.form(y) == form {
        form
    } else {
        Form::Stock
    }
}
