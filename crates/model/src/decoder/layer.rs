//! One layer of the decoder: attention and feed-forward, each after a normalisation and added to the residual stream.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use leadspan_kernels::{AttentionShape, Packed, Pass, RotaryTable, Weight, attention};

use super::{attention::Attention, feed_forward::FeedForward, norm::RmsNorm};
use crate::{
    config::DecoderConfig,
    error::ModelError,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// One layer of the decoder.
#[derive(Clone, Debug)]
pub(crate) struct DecoderLayer {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
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
        let hidden = config.hidden_size;
        let (query_width, key_width) = Attention::widths(config);
        let mut norm = |part: &str, width: usize| -> std::result::Result<RmsNorm, ModelError> {
            Ok(RmsNorm {
                weight: weights.weight(&name(part), &[width])?,
                eps: config.rms_norm_eps,
            })
        };
        let attention_norm = norm("input_layernorm.weight", hidden)?;
        let feed_forward_norm = norm("post_attention_layernorm.weight", hidden)?;
        let head_norms = if config.family.description().normalises_heads {
            let query_norm = norm("self_attn.q_norm.weight", config.head_dim)?;
            Some((query_norm, norm("self_attn.k_norm.weight", config.head_dim)?))
        } else {
            None
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
            output: product("self_attn.o_proj", hidden, query_width, config.output_bias)?,
            head_norms,
            shape: AttentionShape::new(config.num_attention_heads, config.num_key_value_heads, config.head_dim),
        };
        Ok(Self {
            attention_norm,
            attention,
            feed_forward_norm,
            feed_forward: FeedForward::build(config, weights, index, &name("mlp"))?,
        })
    }

    /// `[N, H]` to `[N, H]`. A token attends to itself and to the earlier tokens of its own sequence.
    pub(crate) fn forward<'a>(
        &self,
        hidden: &Tensor,
        packed: &Packed,
        rotary: &RotaryTable,
        pass: impl Into<Pass<'a>>,
    ) -> Result<Tensor> {
        let (pass, shape) = (pass.into(), self.attention.shape);
        if pass.packs(hidden) {
            let normalised = self.attention_norm.forward(hidden, pass)?;
            let hidden = (self.attention).forward_packed(&normalised, hidden, rotary, packed, pass)?;
            let normalised = self.feed_forward_norm.forward(&hidden, pass)?;
            return self.feed_forward.forward(&normalised, &hidden, pass);
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
        rotation: (&RotaryTable, &Arc<[u32]>),
        pass: Pass<'_>,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let normalised = self.attention_norm.forward(hidden, pass)?;
        let hidden = self.attention.forward(&normalised, hidden, rotation, pass, attend)?;
        let normalised = self.feed_forward_norm.forward(&hidden, pass)?;
        self.feed_forward.forward(&normalised, &hidden, pass)
    }

    /// The heads of the layer's attention.
    pub(crate) fn attention_shape(&self) -> AttentionShape {
        self.attention.shape
    }

    /// The dense parameters of the layer.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let norms = [&self.attention_norm.weight, &self.feed_forward_norm.weight];
        norms
            .into_iter()
            .chain(self.attention.weights())
            .chain(self.feed_forward.weights())
    }
}
