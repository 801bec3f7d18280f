//! A gated feed-forward block (SwiGLU, or GeGLU): the feed-forward part of a dense layer, or one expert of a mixture.

use candle_core::{Result, Tensor};
use leadspan_kernels::{Pass, Weight, gate_packed, geglu, linear_packed, swiglu};

use super::closing::Closing;
use crate::{
    error::ModelError,
    families::Activation,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// down(activation(gate(x)) · up(x)).
#[derive(Clone, Debug)]
pub(crate) struct GatedBlock {
    gate: Projection,
    up: Projection,
    down: Closing,
    activation: Activation,
}

impl GatedBlock {
    /// The block of width `inner`; the names of its weights begin with `name`. `close` makes its end from the last product.
    pub(crate) fn build(
        (hidden, inner): (usize, usize),
        activation: Activation,
        weights: &mut dyn WeightSource,
        name: &str,
        close: impl FnOnce(Projection) -> Closing,
    ) -> std::result::Result<Self, ModelError> {
        let mut product = |part: &str, shape| weights.product(&format!("{name}.{part}.weight"), shape, None);
        Ok(Self {
            gate: product("gate_proj", [inner, hidden])?,
            up: product("up_proj", [inner, hidden])?,
            down: close(product("down_proj", [hidden, inner])?),
            activation,
        })
    }

    /// The output for `x` `[N, H]`, plus `residual` if one is given.
    pub(crate) fn forward(&self, x: &Tensor, residual: Option<&Tensor>, pass: Pass<'_>) -> Result<Tensor> {
        let (gate, up, activation) = (self.gate.clone(), self.up.clone(), self.activation);
        let gated = pass.recomputed(x, move |x, pass| gated((&gate, &up), activation, x, pass))?;
        self.down.forward(&gated, residual, pass)
    }

    /// The dense parameters of the block.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let projections = [&self.gate, &self.up].into_iter();
        projections.flat_map(Projection::weights).chain(self.down.weights())
    }
}

/// activation(gate(x)) · up(x).
fn gated((gate, up): (&Projection, &Projection), activation: Activation, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
    if pass.packs(x)
        && activation == Activation::Silu
        && let (Some(gate), Some(up)) = (gate.dense(), up.dense())
    {
        return gate_packed(&linear_packed(x, &[gate, up], pass)?, pass);
    }
    let (gate, up) = (gate.forward(x, None, pass)?, up.forward(x, None, pass)?);
    match activation {
        Activation::Silu => swiglu(&gate, &up, pass),
        Activation::GeluTanh => geglu(&gate, &up, pass),
    }
}
