//! The feed-forward part of a layer: one gated block, or a mixture of them.

use candle_core::{Result, Tensor};

use crate::{
    ModelError,
    config::DecoderConfig,
    decoder::WeightSource,
    experts::Mixture,
    kernels::{Pass, Weight, swiglu},
    projection::Projection,
};

/// What follows the attention of a layer.
#[derive(Clone, Debug)]
pub(crate) enum FeedForward {
    /// Every token goes through the same block.
    Dense(Gated),
    /// Every token goes through the blocks that a router chooses for it.
    Mixture(Mixture),
}

/// down(silu(gate(x)) · up(x)).
#[derive(Clone, Debug)]
pub(crate) struct Gated {
    gate: Projection,
    up: Projection,
    down: Projection,
}

impl FeedForward {
    /// That of layer `index`, whose weights begin with `name`.
    pub(crate) fn build(
        config: &DecoderConfig,
        weights: &mut dyn WeightSource,
        index: usize,
        name: &str,
    ) -> std::result::Result<Self, ModelError> {
        let hidden = config.hidden_size;
        match &config.experts {
            Some(experts) if experts.layers.contains(&index) => {
                Mixture::build(experts, hidden, weights, name).map(Self::Mixture)
            }
            _ => Gated::build(hidden, config.intermediate_size, weights, name).map(Self::Dense),
        }
    }

    /// `residual` plus what becomes of `x`, both `[N, H]`.
    pub(crate) fn forward(&self, x: &Tensor, residual: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        match self {
            Self::Dense(block) => block.forward(x, Some(residual), pass),
            Self::Mixture(mixture) => mixture.forward(x, residual, pass),
        }
    }

    /// The dense parameters of a block that every token goes through. Those of a mixture do not learn.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let block = match self {
            Self::Dense(block) => Some(block),
            Self::Mixture(_) => None,
        };
        let projections = block
            .into_iter()
            .flat_map(|block| [&block.gate, &block.up, &block.down]);
        projections.flat_map(Projection::weights)
    }
}

impl Gated {
    /// The block `inner` wide whose weights begin with `name`.
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

    /// What becomes of `x` `[N, H]`, plus `residual` where there is one.
    pub(crate) fn forward(&self, x: &Tensor, residual: Option<&Tensor>, pass: Pass<'_>) -> Result<Tensor> {
        let gate = self.gate.forward(x, None, pass)?;
        let up = self.up.forward(x, None, pass)?;
        self.down.forward(&swiglu(&gate, &up, pass)?, residual, pass)
    }
}
