//! Causal attention with grouped key-value heads.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::{config::DecoderConfig, norm::RmsNorm, projection::Projection, rotary::RotaryTable};

/// Queries handled at once. Tiles are counted from position 0, so a position's keys are grouped the same way whatever
/// follows it, and scores never take more than tile × tokens × heads.
const QUERY_TILE: usize = 256;

/// Keys of a sequence that fits one tile come in multiples of this, keys of a longer one in multiples of a tile: sums
/// and products over them are cut into blocks, and where a cut falls must not depend on what follows a position.
const KEY_BLOCK: usize = 32;

/// Queries of a longer sequence's last tile, at least: the matrix product cuts long sums of 64 rows or fewer elsewhere.
const LAST_TILE_QUERIES: usize = 72;

/// One attention block.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) queries: Projection,
    pub(crate) keys: Projection,
    pub(crate) values: Projection,
    pub(crate) output: Projection,
    /// Normalisation of each query and key head (Qwen3).
    pub(crate) head_norms: Option<(RmsNorm, RmsNorm)>,
    pub(crate) num_attention_heads: usize,
    pub(crate) num_key_value_heads: usize,
    pub(crate) head_dim: usize,
}

impl Attention {
    /// From `[B, T, H]` to `[B, T, H]`; token t attends to tokens 0..=t of its own sequence.
    pub(crate) fn forward(&self, x: &Tensor, rotary: &RotaryTable, masks: &CausalMasks) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let group = self.num_attention_heads / self.num_key_value_heads;
        let split = |projected: Tensor, heads: usize, norm: Option<&RmsNorm>| -> Result<Tensor> {
            let heads = projected.reshape((batch, tokens, heads, self.head_dim))?;
            let heads = norm.map_or(Ok(heads.clone()), |norm| norm.forward(&heads))?;
            heads.transpose(1, 2)?.contiguous()
        };
        let (query_norm, key_norm) = match &self.head_norms {
            Some((query_norm, key_norm)) => (Some(query_norm), Some(key_norm)),
            None => (None, None),
        };
        let queries = split(self.queries.forward(x)?, self.num_attention_heads, query_norm)?;
        let keys = split(self.keys.forward(x)?, self.num_key_value_heads, key_norm)?;
        let values = split(self.values.forward(x)?, self.num_key_value_heads, None)?;
        let queries = (rotary.rotate(&queries)? * (self.head_dim as f64).powf(-0.5))?;
        let keys = rotary.rotate(&keys)?;
        let (query_count, key_count) = padded_counts(tokens);
        let queries = queries.pad_with_zeros(2, 0, query_count - tokens)?;
        let keys = keys.pad_with_zeros(2, 0, key_count - tokens)?;
        let values = values.pad_with_zeros(2, 0, key_count - tokens)?;

        let mut tiles = Vec::with_capacity(tokens.div_ceil(QUERY_TILE));
        for start in (0..tokens).step_by(QUERY_TILE) {
            let length = QUERY_TILE.min(query_count - start);
            let seen = key_count.min(start + QUERY_TILE);
            // Query heads that share a key-value head are stacked along the rows of one product.
            let tile = queries.narrow(2, start, length)?.contiguous()?.reshape((
                batch,
                self.num_key_value_heads,
                group * length,
                self.head_dim,
            ))?;
            let scores = tile.matmul(&keys.narrow(2, 0, seen)?.transpose(2, 3)?)?;
            let scores = scores
                .reshape((batch * self.num_attention_heads, length, seen))?
                .broadcast_add(&masks.tile(start, length, seen)?)?;
            let weights = softmax(&scores)?.reshape((batch, self.num_key_value_heads, group * length, seen))?;
            let mixed = weights.matmul(&values.narrow(2, 0, seen)?.contiguous()?)?;
            tiles.push(mixed.reshape((batch, self.num_attention_heads, length, self.head_dim))?);
        }
        let mixed = if tiles.len() == 1 {
            tiles.remove(0)
        } else {
            Tensor::cat(&tiles, 2)?
        };
        let joined = mixed.narrow(2, 0, tokens)?.transpose(1, 2)?.reshape((
            batch,
            tokens,
            self.num_attention_heads * self.head_dim,
        ))?;
        self.output.forward(&joined)
    }

    pub(crate) fn sizes(config: &DecoderConfig) -> (usize, usize) {
        (
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        )
    }
}

/// How many queries and keys a sequence is filled up to with zeros. No query of the sequence sees the added keys.
fn padded_counts(tokens: usize) -> (usize, usize) {
    if tokens <= QUERY_TILE {
        return (tokens, tokens.next_multiple_of(KEY_BLOCK));
    }
    let last_tile = (tokens - 1) / QUERY_TILE * QUERY_TILE;
    (
        tokens.max(last_tile + LAST_TILE_QUERIES),
        tokens.next_multiple_of(QUERY_TILE),
    )
}

/// Softmax over the last dimension; differentiable where `scores` is part of a graph.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    if scores.track_op() {
        candle_nn::ops::softmax(scores, D::Minus1)
    } else {
        candle_nn::ops::softmax_last_dim(scores)
    }
}

/// What is added to the scores so that no query sees a later key: 0 or −∞.
#[derive(Clone, Debug)]
pub(crate) struct CausalMasks {
    /// The square at the end of every full tile, [tile, tile].
    triangle: Tensor,
}

impl CausalMasks {
    pub(crate) fn new(dtype: DType, device: &Device) -> Result<Self> {
        let side = QUERY_TILE;
        let values: Vec<f32> = (0..side)
            .flat_map(|query| (0..side).map(move |key| if key > query { f32::NEG_INFINITY } else { 0.0 }))
            .collect();
        Ok(Self {
            triangle: Tensor::from_vec(values, (side, side), device)?.to_dtype(dtype)?,
        })
    }

    /// The mask of queries `start..start + length` over keys `0..seen`, [length, seen].
    fn tile(&self, start: usize, length: usize, seen: usize) -> Result<Tensor> {
        let triangle = self.triangle.narrow(0, 0, length)?.narrow(1, 0, seen - start)?;
        if start == 0 {
            return Ok(triangle);
        }
        let before = Tensor::zeros((length, start), triangle.dtype(), triangle.device())?;
        Tensor::cat(&[&before, &triangle.contiguous()?], 1)
    }
}
