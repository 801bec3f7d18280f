//! The nonlinearity of the gated feed-forward block (arXiv 2002.05202): y = silu(a) · b with silu(a) = a · σ(a).
//!
//! Backward, with g the gradient of y and s = σ(a): ∂a = g · b · s · (1 + a · (1 − s)); ∂b = g · a · s.

use candle_core::{Result, Tensor};

use crate::{cpu, form::Form, stock, tape::Pass};

/// silu(`gate`) · `up`, of two tensors of one shape.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn swiglu<'a>(gate: &Tensor, up: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    let pass = pass.into();
    if pass.form(gate) == Form::Cpu {
        return pass.two([&gate.contiguous()?, &up.contiguous()?], cpu::swiglu::SwiGlu);
    }
    stock::swiglu::swiglu(gate, up)
}
