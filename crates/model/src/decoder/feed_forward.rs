//! The feed-forward part of a layer: one gated block, or a mixture of them.

use candle_core::{Result, Tensor};

use crate::{
    ModelError,
    config::DecoderConfig,
    decoder::gated_block::GatedBlock,
    decoder::mixture::Mixture,
    kernels::{Pass, Weight},
    weights::weight_source::WeightSource,
};

/// The part of a layer after its attention.
#[derive(Clone, Debug)]
pub(crate) enum FeedForward {
    /// Every token goes through the same block.
    Dense(GatedBlock),
    /// Every token goes through the blocks that a router chooses for it.
    Mixture(Mixture),
}

impl FeedForward {
    /// The feed-forward part of layer `index`; the names of its weights begin with `name`.
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
            _ => GatedBlock::build(hidden, config.intermediate_size, weights, name).map(Self::Dense),
        }
    }

    /// `residual` plus the output for `x`; both are `[N, H]`.
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
        block.into_iter().flat_map(GatedBlock::weights)
    }
}
