//! One layer of the decoder: attention and feed-forward, each with normalisations before or after it and added to the residual
//! stream.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use leadspan_kernels::{AttentionShape, Packed, Pass, Weight, attention};

use super::{attention::Attention, closing::Closing, feed_forward::FeedForward, norm::RmsNorm, rotary::RotaryTables};
use crate::{
    config::{DecoderConfig, parts::Rotation},
    error::ModelError,
    families::NormPlacement,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// One layer of the decoder.
#[derive(Clone, Debug)]
pub(crate) struct DecoderLayer {
    attention_norm: Option<RmsNorm>,
    attention: Attention,
    feed_forward_norm: Option<RmsNorm>,
    feed_forward: FeedForward,
    rotation: Rotation,
    /// Whether the operations between the products of the layer have a packed form.
    has_packed_form: bool,
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
        let (query_width, key_width) = Attention::widths(config);
        let mut norm = |part: &str, width: usize| -> std::result::Result<RmsNorm, ModelError> {
            Ok(RmsNorm {
                weight: weights.weight(&name(part), &[width])?,
                eps: config.rms_norm_eps,
                around_one: description.norms_around_one,
            })
        };
        let mut block_norm = |part: &str| norm(&format!("{part}_layernorm.weight"), hidden).map(Some);
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
        let norm_widths = match (description.normalises_heads, description.normalises_all_heads) {
            (_, true) => Some((query_width, key_width)),
            (true, false) => Some((config.head_dim, config.head_dim)),
            (false, false) => None,
        };
        let head_norms = match norm_widths {
            Some((queries, keys)) => {
                let query_norm = norm("self_attn.q_norm.weight", queries)?;
                Some((query_norm, norm("self_attn.k_norm.weight", keys)?))
            }
            None => None,
        };
        let close = |product, norm| Closing {
            product,
            norm,
            scale: config.parts.residual_scale,
        };
        let mut product =
            |part: &str, out: usize, width: usize, biased: bool| -> std::result::Result<Projection, ModelError> {
                let bias = if biased {
                    Some(weights.weight(&name(&format!("{part}.bias")), &[out])?)
                } else {
                    None
                };
                weights.product(&name(&format!("{part}.weight")), [out, width], bias)
            };
        let attention = Attention {
            queries: product("self_attn.q_proj", query_width, hidden, config.qkv_bias)?,
            keys: product("self_attn.k_proj", key_width, hidden, config.qkv_bias)?,
            values: product("self_attn.v_proj", key_width, hidden, config.qkv_bias)?,
            output: close(
                product("self_attn.o_proj", hidden, query_width, config.output_bias)?,
                attention_end,
            ),
            head_norms,
            shape: AttentionShape {
                window: kind.window,
                score_scale: config.parts.score_scale.map(|scale| scale as f32),
                ..AttentionShape::new(config.num_attention_heads, config.num_key_value_heads, config.head_dim)
            },
        };
        let close = |product| close(product, feed_forward_end);
        Ok(Self {
            attention_norm,
            attention,
            feed_forward_norm,
            feed_forward: FeedForward::build(config, weights, index, &name("mlp"), close)?,
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
        let (pass, shape) = (pass.into(), self.attention.shape);
        if self.has_packed_form
            && pass.packs(hidden)
            && let Some(rotary) = rotary.of(self.rotation)
        {
            let normalised = normalised(self.attention_norm.as_ref(), hidden, pass)?;
            let hidden = (self.attention).forward_packed(&normalised, hidden, rotary, packed, pass)?;
            return self.feed_forward(&hidden, pass);
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
        let normalised = normalised(self.attention_norm.as_ref(), hidden, pass)?;
        let rotation = (rotary.of(self.rotation), positions);
        let hidden = self.attention.forward(&normalised, hidden, rotation, pass, attend)?;
        self.feed_forward(&hidden, pass)
    }

    fn feed_forward(&self, hidden: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
        let normalised = normalised(self.feed_forward_norm.as_ref(), hidden, pass)?;
        self.feed_forward.forward(&normalised, hidden, pass)
    }

    /// The heads of the layer's attention.
    pub(crate) fn attention_shape(&self) -> AttentionShape {
        self.attention.shape
    }

    /// The dense parameters of the layer.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let norms = self.attention_norm.iter().chain(&self.feed_forward_norm);
        norms
            .map(|norm| &norm.weight)
            .chain(self.attention.weights())
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
