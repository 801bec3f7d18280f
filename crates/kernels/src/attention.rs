//! Causal attention of packed sequences with grouped key-value heads: o_i = Σ_{j ≤ i} softmax_j(s · q_i · k_j) v_j, within
//! each sequence.
//!
//! Backward, with g the gradient of o (after `FlashAttention`, arXiv 2205.14135): P = exp(s·q·k − lse) from the stored
//! log-sum-exps; ∂v += Pᵀ g; ∂S = P ∘ (g vᵀ − rowsum(g ∘ o)); ∂q = s · ∂S k; ∂k += s · ∂Sᵀ q.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::{Pass, cpu, stock};

/// The heads of an attention block.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads, a multiple of the key-value heads.
    pub heads: usize,
    /// Heads of keys and values, each shared by as many query heads.
    pub key_value_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Query heads that share a key-value head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.key_value_heads
    }

    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    pub(crate) fn key_width(&self) -> usize {
        self.key_value_heads * self.head_dim
    }

    pub(crate) fn scale(&self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }
}

/// From queries `[N, heads · D]` and keys and values `[N, key-value heads · D]` to `[N, heads · D]`; sequence b has the
/// rows `edges[b]..edges[b + 1]`.
///
/// # Errors
///
/// Fails if the shapes do not fit or the device fails.
pub fn attention<'a>(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    edges: &Arc<[usize]>,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor> {
    let pass = pass.into();
    if !pass.fuse(queries) {
        return stock::attention::attention(queries, keys, values, shape, edges);
    }
    let (queries, keys, values) = (queries.contiguous()?, keys.contiguous()?, values.contiguous()?);
    let inputs = [&queries, &keys, &values];
    let operation = cpu::attention::Attention::new(shape, edges, pass.goes_back(&inputs));
    pass.three(inputs, operation)
}
