//! The operations between and around the products of a layer on matrices that hold several results side by side, as GPUs do
//! them. Other devices have a better way for each part alone.

use std::sync::Arc;

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{attention_shape::AttentionShape, rotary_table::RotaryTable, tape::Pass, weight::Weight};

/// The normalisations of each query head and each key head, and the ε that is added to the mean square.
#[derive(Clone, Copy, Debug)]
pub struct BlockNorms<'a> {
    /// `[D]`
    pub queries: &'a Weight,
    /// `[D]`
    pub keys: &'a Weight,
    /// Added to the mean square before its root is taken.
    pub eps: f64,
}

/// `x` `[N, in]` through several linear operations, weights with their biases: the results side by side, `[N, sum of out]`.
///
/// # Errors
///
/// If the shapes do not fit, [`Pass::packs`] is false for `x`, or the device fails.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
pub fn linear_packed(x: &Tensor, parts: &[(&Weight, Option<&Weight>)], pass: Pass<'_>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    return pass.one(&x.contiguous()?, cuda::several::Several::new(parts));
    #[cfg(not(feature = "cuda"))]
    candle_core::bail!("this program was built without CUDA")
}

/// Attention over the result of [`linear_packed`] with the weights of queries, keys and values: heads are normalised if there
/// are norms, queries and keys are rotated, and attention mixes the values within each sequence.
///
/// # Shapes
///
/// `all` is `[N, (heads + 2 · key-value heads) · D]`, the result `[N, heads · D]`.
///
/// # Errors
///
/// If the shapes do not fit, a position is beyond the model's context, there is no kernel for the shape (none has a window
/// or rotates a part of a head),
/// or the device fails.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
pub fn attend_packed(
    all: &Tensor,
    (shape, norms): (AttentionShape, Option<BlockNorms<'_>>),
    (rotary, positions): (&RotaryTable, &Arc<[u32]>),
    edges: &Arc<[usize]>,
    pass: Pass<'_>,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    {
        if shape.window.is_some() || !rotary.rotates_whole_heads() {
            candle_core::bail!("there is no kernel for attention with a window or for heads that rotate in part");
        }
        let reach = positions.iter().max().map_or(0, |&last| last as usize + 1);
        let operation = cuda::heads::Heads {
            shape,
            norms: norms.map(|norms| cuda::heads::HeadNorms {
                queries: norms.queries.clone(),
                keys: norms.keys.clone(),
                eps: norms.eps as f32,
            }),
            angles: rotary.reaching(reach)?,
            pairing: rotary.pairing(),
            positions: Arc::clone(positions),
            edges: Arc::clone(edges),
            left: pass.needs_backward(&[all]).then(Default::default),
        };
        return pass.one(&all.contiguous()?, operation);
    }
    #[cfg(not(feature = "cuda"))]
    candle_core::bail!("this program was built without CUDA")
}

/// silu(gate) · up of the result of [`linear_packed`] with the weights of gate and up, `[N, 2 · W]`: `[N, W]`.
///
/// # Errors
///
/// If there is no kernel for the shape, or the device fails.
#[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
pub fn gate_packed(gate_up: &Tensor, pass: Pass<'_>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    return pass.one(&gate_up.contiguous()?, cuda::swiglu::SwiGlu);
    #[cfg(not(feature = "cuda"))]
    candle_core::bail!("this program was built without CUDA")
}
