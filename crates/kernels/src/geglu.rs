//! The nonlinearity of the gated feed-forward block with GELU (arXiv 2002.05202): y = gelu(a) · b, with the approximation
//! gelu(a) = ½ a (1 + tanh u), u = √(2/π) (a + 0.044715 a³).
//!
//! Backward, with g the gradient of y and t = tanh u: ∂a = g · b · (½ (1 + t) + ½ a (1 − t²) u′), with
//! u′ = √(2/π) (1 + 0.134145 a²); ∂b = g · gelu(a).

use candle_core::{Result, Tensor};

use crate::{cpu, form::Form, stock, tape::Pass};

/// gelu(`gate`) · `up`, of two tensors of one shape.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn geglu<'a>(gate: &Tensor, up: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
    let pass = pass.into();
    if pass.form(gate) == Form::Cpu {
        return pass.two([&gate.contiguous()?, &up.contiguous()?], cpu::geglu::GeGlu);
    }
    stock::geglu::geglu(gate, up)
}
