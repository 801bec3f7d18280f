//! What a block adds to the residual stream if it is scaled or normalised first: y = r + s · x; and scaling alone.
//!
//! Backward, with g the gradient of y: ∂r = g; ∂x = s · g.

use candle_core::{Result, Tensor};

use crate::{cpu, form::Form, stock, tape::Pass};

/// `residual` + `scale` · `x`, of two tensors of one shape.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn add_scaled<'a>(residual: &Tensor, x: &Tensor, scale: f64, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    let pass = pass.into();
    if pass.form(x) == Form::Cpu {
        let operation = cpu::residual::AddScaled(scale as f32);
        return pass.two([&residual.contiguous()?, &x.contiguous()?], operation);
    }
    stock::residual::add_scaled(residual, x, scale)
}

/// `scale` · `x`.
///
/// # Errors
///
/// If the device fails.
pub fn scaled<'a>(x: &Tensor, scale: f64, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    let pass = pass.into();
    if pass.form(x) == Form::Cpu {
        return pass.one(&x.contiguous()?, cpu::residual::Scaled(scale as f32));
    }
    x * scale
}
