//! One layer of the decoder: attention and feed-forward, each with normalisations before or after it and added to the residual
//! stream.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use leadspan_kernels::{AttentionShape, Packed, Pass, Weight, attention};

use super::{
    attention::Attention, closing::Closing, delta_net::DeltaNet, feed_forward::FeedForward, norm::RmsNorm,
    rotary::RotaryTables,
};
use crate::{
    config::{DecoderConfig, parts::Rotation},
    error::ModelError,
    families::NormPlacement,
    weights::weight_source::WeightSource,
};

/// One layer of the decoder.
#[derive(Clone, Debug)]
pub(crate) struct DecoderLayer {
    attention_norm: Option<RmsNorm>,
    mixing: Mixing,
    feed_forward_norm: Option<RmsNorm>,
    feed_forward: FeedForward,
    shape: AttentionShape,
    rotation: Rotation,
    /// Whether the operations between the products of the layer have a packed form.
    has_packed_form: bool,
}

/// How a layer mixes the tokens of a sequence.
#[derive(Clone, Debug)]
enum Mixing {
    Attention(Attention),
    /// Linear attention, which computes no gradients and generates no text.
    Linear(DeltaNet),
}

impl DecoderLayer {
    /// Layer `index`, with its weights from `weights`.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the configuration says.
    pub(super) fn build(
        config: &DecoderConfig,
        weights: &mut dyn WeightSource,
        index: usize,
    ) -> std::result::Result<Self, ModelError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let (hidden, description, kind) = (
            config.hidden_size,
            config.family.description(),
            config.parts.layer(index),
        );
        let mut block_norm = |part: &str| -> std::result::Result<Option<RmsNorm>, ModelError> {
            Ok(Some(RmsNorm {
                weight: weights.weight(&name(&format!("{part}_layernorm.weight")), &[hidden])?,
                eps: config.rms_norm_eps,
                around_one: description.norms_around_one,
            }))
        };
        // Before attention, after it, before the feed-forward block, after it.
        let [attention_norm, attention_end, feed_forward_norm, feed_forward_end] = match description.norm_placement {
            NormPlacement::Before => [block_norm("input")?, None, block_norm("post_attention")?, None],
            NormPlacement::After => [
                None,
                block_norm("post_attention")?,
                None,
                block_norm("post_feedforward")?,
            ],
            NormPlacement::Around => [
                block_norm("input")?,
                block_norm("post_attention")?,
                block_norm("pre_feedforward")?,
                block_norm("post_feedforward")?,
            ],
        };
        let close = |product, norm| Closing {
            product,
            norm,
            scale: config.parts.residual_scale,
        };
        let mixing = match &config.parts.linear {
            Some(linear) if kind.is_linear => {
                Mixing::Linear(DeltaNet::build(config, linear, weights, &name("linear_attn"))?)
            }
            _ => {
                let close = |product| close(product, attention_end);
                Mixing::Attention(Attention::build(
                    config,
                    kind.window,
                    weights,
                    &name("self_attn"),
                    close,
                )?)
            }
        };
        let close = |product| close(product, feed_forward_end);
        Ok(Self {
            attention_norm,
            mixing,
            feed_forward_norm,
            feed_forward: FeedForward::build(config, weights, index, &name("mlp"), close)?,
            shape: Attention::shape(config, kind.window),
            rotation: kind.rotation,
            has_packed_form: config.is_plain(),
        })
    }

    /// `[N, H]` to `[N, H]`. A token attends to itself and to the earlier tokens of its own sequence.
    pub(crate) fn forward<'a>(
        &self,
        hidden: &Tensor,
        packed: &Packed,
        rotary: &RotaryTables,
        pass: impl Into<Pass<'a>>,
    ) -> Result<Tensor> {
        let (pass, shape) = (pass.into(), self.shape);
        if let Mixing::Linear(block) = &self.mixing {
            let normalised = normalised(self.attention_norm.as_ref(), hidden, pass)?;
            return self.feed_forward(&block.forward(&normalised, hidden, packed.edges(), pass)?, pass);
        }
        if self.has_packed_form
            && pass.packs(hidden)
            && let (Mixing::Attention(block), Some(rotary)) = (&self.mixing, rotary.of(self.rotation))
        {
            let normalised = normalised(self.attention_norm.as_ref(), hidden, pass)?;
            return self.feed_forward(&block.forward_packed(&normalised, hidden, rotary, packed, pass)?, pass);
        }
        self.forward_with(hidden, (rotary, packed.positions()), pass, |queries, keys, values| {
            attention(queries, keys, values, shape, packed.shared_edges(), pass)
        })
    }

    /// `[N, H]` to `[N, H]`, with the attention that `attend` computes from queries, keys and values.
    ///
    /// Queries and keys are rotated by the angles of the table for the positions of their rows.
    pub(crate) fn forward_with(
        &self,
        hidden: &Tensor,
        (rotary, positions): (&RotaryTables, &Arc<[u32]>),
        pass: Pass<'_>,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Mixing::Attention(block) = &self.mixing else {
            bail!("linear attention leaves no keys and values");
        };
        let normalised = normalised(self.attention_norm.as_ref(), hidden, pass)?;
        let rotation = (rotary.of(self.rotation), positions);
        let hidden = block.forward(&normalised, hidden, rotation, pass, attend)?;
        self.feed_forward(&hidden, pass)
    }

    fn feed_forward(&self, hidden: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let normalised = normalised(self.feed_forward_norm.as_ref(), hidden, pass)?;
        self.feed_forward.forward(&normalised, hidden, pass)
    }

    /// The heads of the layer's attention.
    pub(crate) fn attention_shape(&self) -> AttentionShape {
        self.shape
    }

    /// The dense parameters of the layer. Linear attention has none, because it cannot be trained.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let attention = match &self.mixing {
            Mixing::Attention(block) => Some(block),
            Mixing::Linear(_) => None,
        };
        let norms = self.attention_norm.iter().chain(&self.feed_forward_norm);
        norms
            .map(|norm| &norm.weight)
            .chain(attention.into_iter().flat_map(Attention::weights))
            .chain(self.feed_forward.weights())
    }
}

/// `hidden` as a block sees it.
fn normalised(norm: Option<&RmsNorm>, hidden: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(hidden, pass),
        None => Ok(hidden.clone()),
    }
}
