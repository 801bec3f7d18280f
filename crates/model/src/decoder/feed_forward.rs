//! The feed-forward part of a layer: one gated block, or a mixture of experts.

use candle_core::{Result, Tensor};
use leadspan_kernels::{Pass, Weight};

use super::{closing::Closing, gated_block::GatedBlock, mixture::Mixture};
use crate::{
    config::DecoderConfig,
    error::ModelError,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// The feed-forward part of a layer.
#[derive(Clone, Debug)]
pub(crate) enum FeedForward {
    /// One block for all tokens.
    Dense(Box<GatedBlock>),
    /// Several blocks; a router chooses some of them for each token.
    Mixture(Mixture),
}

impl FeedForward {
    /// The feed-forward part of layer `index`; the names of its weights begin with `name`. `close` makes the end of a gated
    /// block from the last product.
    pub(crate) fn build(
        config: &DecoderConfig,
        weights: &mut dyn WeightSource,
        index: usize,
        name: &str,
        close: impl FnOnce(Projection) -> Closing,
    ) -> std::result::Result<Self, ModelError> {
        let hidden = config.hidden_size;
        match &config.experts {
            Some(experts) if experts.layers.contains(&index) => {
                Mixture::build(experts, hidden, weights, name).map(Self::Mixture)
            }
            _ => {
                let (widths, activation) = (
                    (hidden, config.intermediate_size),
                    config.family.description().activation,
                );
                GatedBlock::build(widths, activation, weights, name, close).map(|block| Self::Dense(Box::new(block)))
            }
        }
    }

    /// `residual` plus the output for `x`; both are `[N, H]`.
    pub(crate) fn forward(&self, x: &Tensor, residual: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        match self {
            Self::Dense(block) => block.forward(x, Some(residual), pass),
            Self::Mixture(mixture) => mixture.forward(x, residual, pass),
        }
    }

    /// The dense parameters. A mixture has none, because it cannot be trained.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let block = match self {
            Self::Dense(block) => Some(block),
            Self::Mixture(_) => None,
        };
        block.into_iter().flat_map(|block| block.weights())
    }
}
