//! The nonlinearity of the gated feed-forward block (arXiv 2002.05202): y = f(a) · b. The activation f is a times a factor:
//!
//! - SiLU: f(a) = a · σ(a);
//! - GELU, approximated: f(a) = a · ½ (1 + tanh u), u = √(2/π) (a + 0.044715 a³).
//!
//! Backward, with g the gradient of y: ∂b = g · f(a), and ∂a is
//!
//! - with s = σ(a): g · b · s · (1 + a · (1 − s));
//! - with t = tanh u: g · b · (½ (1 + t) + ½ a (1 − t²) u′), u′ = √(2/π) (1 + 0.134145 a²).

use candle_core::{Result, Tensor};

use crate::{activation::Activation, cpu, form::Form, stock, tape::Pass};

/// silu(`gate`) · `up`, of two tensors of one shape.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn swiglu<'a>(gate: &Tensor, up: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    gated(Activation::Silu, gate, up, pass.into())
}

/// gelu(`gate`) · `up`, of two tensors of one shape.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn geglu<'a>(gate: &Tensor, up: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    gated(Activation::Gelu, gate, up, pass.into())
}

fn gated(activation: Activation, gate: &Tensor, up: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
    if pass.form(gate) == Form::Cpu {
        let operation = cpu::gated::Gated(activation);
        return pass.two([&gate.contiguous()?, &up.contiguous()?], operation);
    }
    stock::gated::gated(activation, gate, up)
}
