//! Attention over stored keys and values in stock operations.

use candle_core::{D, DType, Result, Tensor};

use crate::attention_shape::AttentionShape;

/// One token's queries `[1, heads · D]` over its sample's keys and values, `[T, key-value heads · D]`.
pub(crate) fn attend(queries: &Tensor, keys: &Tensor, values: &Tensor, shape: AttentionShape) -> Result<Tensor> {
    let (all, head_dim) = (keys.dim(0)?, shape.head_dim);
    let from = all.checked_sub(1).map_or(0, |newest| shape.first_seen(newest));
    let tokens = all - from;
    let (keys, values) = (keys.narrow(0, from, tokens)?, values.narrow(0, from, tokens)?);
    // [key-value heads, T, D]
    let split = |x: &Tensor| -> Result<Tensor> {
        let heads = x.reshape((tokens, shape.key_value_heads, head_dim))?;
        heads.transpose(0, 1)?.contiguous()
    };
    let queries = queries.reshape((shape.key_value_heads, shape.group(), head_dim))?;
    let queries = (queries * f64::from(shape.scale()))?;
    let scores = queries.matmul(&split(&keys)?.transpose(1, 2)?.contiguous()?)?;
    let weights = candle_nn::ops::softmax(&scores.to_dtype(DType::F32)?, D::Minus1)?.to_dtype(values.dtype())?;
    weights.matmul(&split(&values)?)?.reshape((1, shape.query_width()))
}
