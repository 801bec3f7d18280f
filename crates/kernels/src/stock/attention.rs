//! Causal attention in stock operations.

use candle_core::{D, DType, Result, Tensor};

use crate::attention_shape::AttentionShape;

/// Computes one sequence after the other, one tile of queries after the other.
pub(crate) fn attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    edges: &[usize],
) -> Result<Tensor> {
    const STOCK_TILE: usize = 512;
    let longest = edges.windows(2).map(|bounds| bounds[1] - bounds[0]).max().unwrap_or(0);
    let later = later(STOCK_TILE.min(longest), queries)?;
    let mut sequences = Vec::new();
    for bounds in edges.windows(2) {
        let (start, tokens) = (bounds[0], bounds[1] - bounds[0]);
        if tokens == 0 {
            continue;
        }
        // [heads, T, D]
        let split = |x: &Tensor, heads: usize| -> Result<Tensor> {
            let rows = x.narrow(0, start, tokens)?;
            rows.reshape((tokens, heads, shape.head_dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        let queries = (split(queries, shape.heads)? * f64::from(shape.scale()))?;
        let (keys, values) = (
            split(keys, shape.key_value_heads)?,
            split(values, shape.key_value_heads)?,
        );
        let mut tiles = Vec::new();
        for first in (0..tokens).step_by(STOCK_TILE) {
            let length = STOCK_TILE.min(tokens - first);
            // No query of the tile sees an earlier key.
            let from = shape.first_seen(first);
            let seen = first + length - from;
            // Query heads that share a key-value head are stacked along the rows of one product.
            let stacked = (shape.key_value_heads, shape.group() * length, shape.head_dim);
            let tile = queries.narrow(1, first, length)?.contiguous()?.reshape(stacked)?;
            let scores = tile.matmul(&keys.narrow(1, from, seen)?.transpose(1, 2)?)?;
            let scores = scores.reshape((shape.heads, length, seen))?;
            let scores = match shape.window {
                None => without_later(&scores, &later)?,
                Some(window) => scores.broadcast_add(&outside((first, length), (from, seen), window, &scores)?)?,
            };
            let weights = softmax(&scores)?.reshape((shape.key_value_heads, shape.group() * length, seen))?;
            let mixed = weights.matmul(&values.narrow(1, from, seen)?)?;
            tiles.push(mixed.reshape((shape.heads, length, shape.head_dim))?);
        }
        let mixed = Tensor::cat(&tiles, 1)?.transpose(0, 1)?;
        sequences.push(mixed.reshape((tokens, shape.query_width()))?);
    }
    Tensor::cat(&sequences, 0)
}

/// The scores `[heads, length, seen]` of a tile's queries with all keys up to the last query, with −∞ for keys that come
/// after the query. Only the last `length` keys can come after one.
fn without_later(scores: &Tensor, later: &Tensor) -> Result<Tensor> {
    let (_, length, seen) = scores.dims3()?;
    let later = later.narrow(0, 0, length)?.narrow(1, 0, length)?;
    let own = scores.narrow(2, seen - length, length)?;
    if !scores.track_op() {
        // In place, because the scores have no other owner.
        scores.slice_set(&own.contiguous()?.broadcast_add(&later)?, 2, seen - length)?;
        return Ok(scores.clone());
    }
    let earlier = Tensor::zeros((length, seen - length), later.dtype(), later.device())?;
    scores.broadcast_add(&Tensor::cat(&[&earlier, &later.contiguous()?], 1)?)
}

/// Softmax over the last dimension; differentiable if `scores` is part of a graph. The differentiable form computes in
/// single precision, because a sum of many weights loses terms in a narrower format.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    if scores.track_op() {
        candle_nn::ops::softmax(&scores.to_dtype(DType::F32)?, D::Minus1)?.to_dtype(scores.dtype())
    } else {
        candle_nn::ops::softmax_last_dim(scores)
    }
}

/// A mask `[length, seen]` of the dtype and on the device of `like`, for `length` queries from `first` on and `seen` keys from
/// `from` on: −∞ if the key is later than the query, or `window` tokens or more before it, otherwise 0.
fn outside(
    (first, length): (usize, usize),
    (from, seen): (usize, usize),
    window: usize,
    like: &Tensor,
) -> Result<Tensor> {
    let mask: Vec<f32> = (first..first + length)
        .flat_map(|query| {
            let sees = move |key: usize| key <= query && query - key < window;
            (from..from + seen).map(move |key| if sees(key) { 0.0 } else { f32::NEG_INFINITY })
        })
        .collect();
    Tensor::from_vec(mask, (length, seen), like.device())?.to_dtype(like.dtype())
}

/// A mask `[length, length]` of the dtype and on the device of `like`: −∞ if column j comes after row i, otherwise 0.
fn later(length: usize, like: &Tensor) -> Result<Tensor> {
    let device = like.device();
    let places = Tensor::arange(0u32, length as u32, device)?;
    let later = places.unsqueeze(0)?.broadcast_gt(&places.unsqueeze(1)?)?;
    let nothing = Tensor::full(f32::NEG_INFINITY, (length, length), device)?;
    later
        .where_cond(&nothing, &nothing.zeros_like()?)?
        .to_dtype(like.dtype())
}
