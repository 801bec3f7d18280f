//! Causal attention of packed sequences with grouped key-value heads: o_i = Σ_{j ≤ i} softmax_j(s · q_i · k_j) v_j, within
//! each sequence. If the shape has a window of w tokens, j runs over i − w < j ≤ i.
//!
//! Backward, with g the gradient of o (after `FlashAttention`, arXiv 2205.14135): P = exp(s·q·k − lse) from the stored
//! log-sum-exps; ∂v += Pᵀ g; ∂S = P ∘ (g vᵀ − rowsum(g ∘ o)); ∂q = s · ∂S k; ∂k += s · ∂Sᵀ q.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::{attention_shape::AttentionShape, cpu, form::Form, stock, tape::Pass};

/// Causal attention within each sequence. Sequence b has the rows `edges[b]..edges[b + 1]`.
///
/// # Shapes
///
/// Queries are `[N, heads · D]`, keys and values `[N, key-value heads · D]`, the result is `[N, heads · D]`.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn attention<'a>(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    edges: &Arc<[usize]>,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor> {
    let pass = pass.into();
    if pass.form(queries) != Form::Cpu {
        return stock::attention::attention(queries, keys, values, shape, edges);
    }
    let (queries, keys, values) = (queries.contiguous()?, keys.contiguous()?, values.contiguous()?);
    let inputs = [&queries, &keys, &values];
    let operation = cpu::attention::Attention::new(shape, edges, pass.needs_backward(&inputs));
    pass.three(inputs, operation)
}
