//! An attention block: projections to heads, their normalisation and rotation, attention, projection back.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};
use leadspan_kernels::{
    AttentionShape, BlockNorms, Packed, Pass, RotaryTable, Weight, attend_packed, linear_packed, rotate,
};

use super::{closing::Closing, delta_net::sigmoid, norm::RmsNorm};
use crate::{
    config::DecoderConfig,
    error::ModelError,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// One attention block.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) queries: Projection,
    pub(crate) keys: Projection,
    pub(crate) values: Projection,
    pub(crate) output: Closing,
    /// The normalisations of queries and of keys: of each head (Qwen3), or of all heads together (OLMo 2).
    pub(crate) head_norms: Option<(RmsNorm, RmsNorm)>,
    /// The projection whose sigmoid multiplies the result of attention (Qwen3.5). It computes no gradients.
    pub(crate) gate: Option<Projection>,
    pub(crate) shape: AttentionShape,
}

impl Attention {
    /// The block of a layer with this window; the names of its weights begin with `name`. `close` makes its end from the last
    /// product.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn build(
        config: &DecoderConfig,
        window: Option<usize>,
        weights: &mut dyn WeightSource,
        name: &str,
        close: impl FnOnce(Projection) -> Closing,
    ) -> std::result::Result<Self, ModelError> {
        let (hidden, description) = (config.hidden_size, config.family.description());
        let (query_width, key_width) = Self::widths(config);
        let norm_widths = match (description.normalises_heads, description.normalises_all_heads) {
            (_, true) => Some((query_width, key_width)),
            (true, false) => Some((config.head_dim, config.head_dim)),
            (false, false) => None,
        };
        let mut norm = |part: &str, width: usize| -> std::result::Result<RmsNorm, ModelError> {
            Ok(RmsNorm {
                weight: weights.weight(&format!("{name}.{part}.weight"), &[width])?,
                eps: config.rms_norm_eps,
                around_one: description.norms_around_one,
            })
        };
        let head_norms = match norm_widths {
            Some((queries, keys)) => Some((norm("q_norm", queries)?, norm("k_norm", keys)?)),
            None => None,
        };
        let (queries, gate) = if description.gates_attention {
            let stored = weights.tensor(&format!("{name}.q_proj.weight"), &[2 * query_width, hidden])?;
            let [queries, gate] = halves_of_heads(&stored, config)?;
            (Some(queries), Some(gate))
        } else {
            (None, None)
        };
        let mut product =
            |part: &str, out: usize, width: usize, biased: bool| -> std::result::Result<Projection, ModelError> {
                let bias = if biased {
                    Some(weights.weight(&format!("{name}.{part}.bias"), &[out])?)
                } else {
                    None
                };
                weights.product(&format!("{name}.{part}.weight"), [out, width], bias)
            };
        Ok(Self {
            queries: match queries {
                Some(queries) => queries,
                None => product("q_proj", query_width, hidden, config.qkv_bias)?,
            },
            keys: product("k_proj", key_width, hidden, config.qkv_bias)?,
            values: product("v_proj", key_width, hidden, config.qkv_bias)?,
            output: close(product("o_proj", hidden, query_width, config.output_bias)?),
            head_norms,
            gate,
            shape: Self::shape(config, window),
        })
    }

    /// The heads of a layer with this window.
    pub(crate) fn shape(config: &DecoderConfig, window: Option<usize>) -> AttentionShape {
        AttentionShape {
            window,
            score_scale: config.parts.score_scale.map(|scale| scale as f32),
            ..AttentionShape::new(config.num_attention_heads, config.num_key_value_heads, config.head_dim)
        }
    }

    /// `residual` plus the block's output for `x`, both `[N, H]`. Row i of `x` is at `positions[i]` of its sequence; without a
    /// table nothing is rotated. `attend` computes attention from queries, keys and values.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        residual: &Tensor,
        (rotary, positions): (Option<&RotaryTable>, &Arc<[u32]>),
        pass: Pass<'_>,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let heads = |projection: &Projection, norm: Option<&RmsNorm>| -> Result<Tensor> {
            let projected = projection.forward(x, None, pass)?;
            let normalised = match norm {
                Some(norm) => {
                    let (rows, width) = projected.dims2()?;
                    let together = norm.weight.tensor().elem_count();
                    let split = pass.reshape(&projected, (rows * width / together, together))?;
                    pass.reshape(&norm.forward(&split, pass)?, (rows, width))?
                }
                None => projected,
            };
            match rotary {
                Some(rotary) => rotate(&normalised, rotary, positions, pass),
                None => Ok(normalised),
            }
        };
        let (query_norm, key_norm) = match &self.head_norms {
            Some((query_norm, key_norm)) => (Some(query_norm), Some(key_norm)),
            None => (None, None),
        };
        let attended = attend(
            &heads(&self.queries, query_norm)?,
            &heads(&self.keys, key_norm)?,
            &self.values.forward(x, None, pass)?,
        )?;
        let attended = match &self.gate {
            Some(gate) => {
                let factors = sigmoid(&gate.forward(x, None, pass)?)?;
                (attended.to_dtype(DType::F32)? * factors)?.to_dtype(attended.dtype())?
            }
            None => attended,
        };
        self.output.forward(&attended, Some(residual), pass)
    }

    /// As [`forward`](Self::forward), with attention within each sequence of a batch: everything between the products is one
    /// operation.
    pub(crate) fn forward_packed(
        &self,
        x: &Tensor,
        residual: &Tensor,
        rotary: &RotaryTable,
        packed: &Packed,
        pass: Pass<'_>,
    ) -> Result<Tensor> {
        let parts = [&self.queries, &self.keys, &self.values].map(Projection::dense);
        let [Some(queries), Some(keys), Some(values)] = parts else {
            bail!("quantised weights have no packed form");
        };
        let all = linear_packed(x, &[queries, keys, values], pass)?;
        let norms = self.head_norms.as_ref().map(|(queries, keys)| BlockNorms {
            queries: &queries.weight,
            keys: &keys.weight,
            eps: queries.eps,
        });
        let (rotation, edges) = ((rotary, packed.positions()), packed.shared_edges());
        let mixed = attend_packed(&all, (self.shape, norms), rotation, edges, pass)?;
        self.output.forward(&mixed, Some(residual), pass)
    }

    /// The widths of queries, and of keys and values, over all heads.
    pub(crate) fn widths(config: &DecoderConfig) -> (usize, usize) {
        (
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        )
    }

    /// The dense parameters of the block.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let projections = [&self.queries, &self.keys, &self.values].into_iter();
        let norms = self
            .head_norms
            .iter()
            .flat_map(|(query, key)| [&query.weight, &key.weight]);
        let projected = projections.flat_map(Projection::weights);
        projected.chain(self.output.weights()).chain(norms)
    }
}

/// The rows of the first and of the second half of each head, of a constant weight `[2 · heads · D, H]` that holds both.
fn halves_of_heads(stored: &Tensor, config: &DecoderConfig) -> Result<[Projection; 2]> {
    let (heads, head_dim, hidden) = (config.num_attention_heads, config.head_dim, config.hidden_size);
    let by_halves = stored.reshape((heads, 2, head_dim, hidden))?;
    let half = |index: usize| -> Result<Projection> {
        let rows = by_halves.narrow(1, index, 1)?.contiguous()?;
        Ok(Projection::Dense {
            weight: Weight::constant_of(rows.reshape((heads * head_dim, hidden))?),
            bias: None,
        })
    };
    Ok([half(0)?, half(1)?])
}
