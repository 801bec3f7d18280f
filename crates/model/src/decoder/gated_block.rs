//! A gated feed-forward block (SwiGLU): the feed-forward part of a dense layer, or one expert of a mixture.

use candle_core::{Result, Tensor};
use leadspan_kernels::{Pass, Weight, gate_packed, linear_packed, swiglu};

use crate::{
    error::ModelError,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// down(silu(gate(x)) · up(x)).
#[derive(Clone, Debug)]
pub(crate) struct GatedBlock {
    gate: Projection,
    up: Projection,
    down: Projection,
}

impl GatedBlock {
    /// The block of width `inner`; the names of its weights begin with `name`.
    pub(crate) fn build(
        hidden: usize,
        inner: usize,
        weights: &mut dyn WeightSource,
        name: &str,
    ) -> std::result::Result<Self, ModelError> {
        let mut product = |part: &str, shape| weights.product(&format!("{name}.{part}.weight"), shape, None);
        Ok(Self {
            gate: product("gate_proj", [inner, hidden])?,
            up: product("up_proj", [inner, hidden])?,
            down: product("down_proj", [hidden, inner])?,
        })
    }

    /// The output for `x` `[N, H]`, plus `residual` if one is given.
    pub(crate) fn forward(&self, x: &Tensor, residual: Option<&Tensor>, pass: Pass<'_>) -> Result<Tensor> {
        let (gate, up) = (self.gate.clone(), self.up.clone());
        let gated = pass.recomputed(x, move |x, pass| gated(&gate, &up, x, pass))?;
        self.down.forward(&gated, residual, pass)
    }

    /// The dense parameters of the block.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let projections = [&self.gate, &self.up, &self.down].into_iter();
        projections.flat_map(Projection::weights)
    }
}

/// silu(gate(x)) · up(x).
fn gated(gate: &Projection, up: &Projection, x: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
    if pass.packs(x)
        && let (Some(gate), Some(up)) = (gate.dense(), up.dense())
    {
        return gate_packed(&linear_packed(x, &[gate, up], pass)?, pass);
    }
    swiglu(&gate.forward(x, None, pass)?, &up.forward(x, None, pass)?, pass)
}
