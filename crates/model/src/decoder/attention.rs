//! An attention block: projections to heads, their normalisation and rotation, attention, projection back.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use leadspan_kernels::{
    AttentionShape, BlockNorms, Packed, Pass, RotaryTable, Weight, attend_packed, linear_packed, rotate,
};

use super::{closing::Closing, norm::RmsNorm};
use crate::{config::DecoderConfig, weights::projection::Projection};

/// One attention block.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) queries: Projection,
    pub(crate) keys: Projection,
    pub(crate) values: Projection,
    pub(crate) output: Closing,
    /// The normalisations of queries and of keys: of each head (Qwen3), or of all heads together (OLMo 2).
    pub(crate) head_norms: Option<(RmsNorm, RmsNorm)>,
    pub(crate) shape: AttentionShape,
}

impl Attention {
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
