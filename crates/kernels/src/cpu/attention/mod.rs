//! Causal attention on the CPU, forward and backward.
//!
//! Queries are processed in tiles, one head at a time. Of the score matrix of a sequence, memory holds only the rows of a
//! tile, at most `QUERY_TILE` × tokens. Tiles are counted from the sequence's first token, and later keys have weight zero,
//! so a position's result depends on earlier positions alone. Keys before the windows of all queries of a tile are left out.

mod backward;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use leadspan_simd::exponentiate;
use rayon::prelude::*;

use self::backward::{Gradients, Results};
use super::{
    product::{Disjoint, Matrix, Sizes, Threads, Write, product},
    slices,
};
use crate::attention_shape::AttentionShape;

/// The number of queries in a tile.
const QUERY_TILE: usize = 64;

/// The number of keys whose values one product sums, counted from the first key. So a sum is divided at the same keys,
/// whatever follows.
const KEY_TILE: usize = 256;

/// The number of keys is padded with zeros to a multiple of this: products of a few columns sum in another order.
const KEY_BLOCK: usize = 64;

/// The operation.
pub(crate) struct Attention {
    shape: AttentionShape,
    edges: Arc<[usize]>,
    /// The log-sum-exp of the scores of each head and token, which the forward pass leaves for the backward pass; `None` if
    /// there is no backward pass.
    log_sums: Option<Mutex<Vec<f32>>>,
}

/// A tile of queries of the heads that share a key-value head.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// The first row of the sequence.
    start: usize,
    /// The length of the sequence.
    tokens: usize,
    key_head: usize,
    /// The first query, counted from the sequence's first token.
    first: usize,
    /// The first key that is looked at: a multiple of [`KEY_TILE`], and none that a query sees lies before it.
    from: usize,
}

impl Tile {
    /// The number of queries in the tile.
    fn queries(&self) -> usize {
        QUERY_TILE.min(self.tokens - self.first)
    }

    /// The number of keys that are looked at, up to the last query's own.
    fn seen(&self) -> usize {
        self.first + self.queries() - self.from
    }

    /// The number of keys that are looked at, padded.
    fn columns(&self) -> usize {
        self.seen().next_multiple_of(KEY_BLOCK)
    }
}

/// Memory that a thread reuses for every tile.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    weights: Vec<f32>,
    output: Vec<f32>,
    slopes: Vec<f32>,
    key_gradient: Vec<f32>,
    value_gradient: Vec<f32>,
}

impl Attention {
    /// The operation on sequences with these `edges`. It stores what the backward pass needs if `needs_backward`.
    pub(crate) fn new(shape: AttentionShape, edges: &Arc<[usize]>, needs_backward: bool) -> Self {
        Self {
            shape,
            edges: Arc::clone(edges),
            log_sums: needs_backward.then(Mutex::default),
        }
    }

    /// The first row and the length of each sequence.
    fn sequences(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let bounds = self.edges.windows(2);
        bounds.map(|bounds| (bounds[0], bounds[1] - bounds[0]))
    }

    /// The tile of the queries from `first` on, of the sequence of `tokens` tokens from row `start` on.
    fn tile(&self, (start, tokens): (usize, usize), key_head: usize, first: usize) -> Tile {
        let from = self.shape.first_seen(first);
        Tile {
            start,
            tokens,
            key_head,
            first,
            from: from - from % KEY_TILE,
        }
    }

    /// Which of a row's weights belong to keys that the query sees: the others have weight zero.
    fn visible(&self, tile: Tile, query: usize) -> std::ops::Range<usize> {
        let position = tile.first + query;
        self.shape.first_seen(position) - tile.from..position + 1 - tile.from
    }

    /// Copies the keys and values that a tile sees, padded with zeros.
    fn gather(&self, tile: Tile, inputs: Inputs<'_>, scratch: &mut Scratch) {
        let (head_dim, width) = (self.shape.head_dim, self.shape.key_width());
        for (all, gathered) in [(inputs.keys, &mut scratch.keys), (inputs.values, &mut scratch.values)] {
            gathered.clear();
            let first = tile.start + tile.from;
            for token in first..first + tile.seen() {
                let place = token * width + tile.key_head * head_dim;
                gathered.extend_from_slice(&all[place..place + head_dim]);
            }
            gathered.resize(tile.columns() * head_dim, 0.0);
        }
    }

    /// Writes softmax(s · q kᵀ) of one head's tile, whose keys were gathered, to `scratch.weights`. Unseen keys have weight
    /// zero.
    ///
    /// `log_sums` holds the log-sum-exps of the rows, or receives them.
    fn weights(&self, tile: Tile, head: usize, inputs: Inputs<'_>, scratch: &mut Scratch, log_sums: LogSums<'_>) {
        let AttentionShape { head_dim, .. } = self.shape;
        let (queries, columns) = (tile.queries(), tile.columns());
        // Always a full tile, so that the product sums in the same order for any number of queries.
        scratch.queries.clear();
        for query in 0..queries {
            let row = (tile.start + tile.first + query) * self.shape.query_width() + head * head_dim;
            scratch.queries.extend_from_slice(&inputs.queries[row..row + head_dim]);
        }
        scratch.queries.resize(QUERY_TILE * head_dim, 0.0);
        scratch.weights.resize(QUERY_TILE * columns, 0.0);
        product(
            &mut scratch.weights,
            Sizes {
                m: QUERY_TILE,
                n: columns,
                k: head_dim,
            },
            Matrix::rows(&scratch.queries, head_dim),
            Matrix::rows(&scratch.keys, head_dim).transposed(),
            (Write::Replace, self.shape.scale(), Threads::This),
        );
        match log_sums {
            LogSums::Receive(log_sums) => {
                for (query, row) in scratch.weights.chunks_exact_mut(columns).take(queries).enumerate() {
                    let visible = zero_outside(row, self.visible(tile, query));
                    let max = visible.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let sum = exponentiate(visible, max);
                    scale(visible, (1.0 / sum) as f32);
                    log_sums[query] = max + sum.ln() as f32;
                }
            }
            LogSums::Known(log_sums) => {
                for (query, row) in scratch.weights.chunks_exact_mut(columns).take(queries).enumerate() {
                    let visible = zero_outside(row, self.visible(tile, query));
                    exponentiate(visible, log_sums[query]);
                }
            }
        }
        scratch.weights[queries * columns..QUERY_TILE * columns].fill(0.0);
    }

    /// Writes the output, and the log-sum-exps head after head.
    fn forward(&self, inputs: Inputs<'_>, output: &mut [f32], log_sums: &mut [f32]) {
        let AttentionShape { head_dim, .. } = self.shape;
        let mut tiles = Vec::new();
        for sequence in self.sequences() {
            for key_head in 0..self.shape.key_value_heads {
                let firsts = (0..sequence.1).step_by(QUERY_TILE);
                tiles.extend(firsts.map(|first| self.tile(sequence, key_head, first)));
            }
        }
        let rows = output.len() / self.shape.query_width().max(1);
        let (output, log_sums) = (Disjoint::new(output), Disjoint::new(log_sums));
        tiles.into_par_iter().for_each_init(Scratch::default, |scratch, tile| {
            let queries = tile.queries();
            self.gather(tile, inputs, scratch);
            for head in tile.key_head * self.shape.group()..(tile.key_head + 1) * self.shape.group() {
                let first_row = tile.start + tile.first;
                // SAFETY: log-sum-exps lie head after head; this task alone handles these queries of this head.
                let log_sums = unsafe { log_sums.slice(head * rows + first_row, queries) };
                self.weights(tile, head, inputs, scratch, LogSums::Receive(log_sums));
                scratch.output.resize(QUERY_TILE * head_dim, 0.0);
                self.mix(tile, scratch);
                for (query, row) in scratch.output.chunks_exact(head_dim).take(queries).enumerate() {
                    let place = (first_row + query) * self.shape.query_width() + head * head_dim;
                    // SAFETY: as above: these columns of these rows belong to this task.
                    unsafe { output.slice(place, head_dim) }.copy_from_slice(row);
                }
            }
        });
    }

    /// `scratch.output` ← weights · values, one key tile after the other.
    fn mix(&self, tile: Tile, scratch: &mut Scratch) {
        let (head_dim, columns) = (self.shape.head_dim, tile.columns());
        for key in (0..columns).step_by(KEY_TILE) {
            let write = if key == 0 { Write::Replace } else { Write::Add };
            product(
                &mut scratch.output,
                Sizes {
                    m: QUERY_TILE,
                    n: head_dim,
                    k: KEY_TILE.min(columns - key),
                },
                Matrix::strided(&scratch.weights[key..], columns),
                Matrix::rows(&scratch.values[key * head_dim..], head_dim),
                (write, 1.0, Threads::This),
            );
        }
    }
}

/// The values of the inputs.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
}

/// The log-sum-exps of a tile's rows.
enum LogSums<'a> {
    /// The forward pass computes them and writes them to this slice.
    Receive(&'a mut [f32]),
    /// The backward pass reads the ones of the forward pass.
    Known(&'a [f32]),
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "leadspan-attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let inputs = Inputs {
            queries: slices::of(s1, l1)?,
            keys: slices::of(s2, l2)?,
            values: slices::of(s3, l3)?,
        };
        let rows = l1.shape().dims2()?.0;
        let mut output = vec![0f32; inputs.queries.len()];
        let mut log_sums = vec![0f32; rows * self.shape.heads];
        self.forward(inputs, &mut output, &mut log_sums);
        if let Some(place) = &self.log_sums {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = log_sums;
        }
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }

    fn bwd(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut query_gradient = vec![0f32; queries.elem_count()];
        let mut key_gradient = vec![0f32; keys.elem_count()];
        let mut value_gradient = vec![0f32; keys.elem_count()];
        let log_sums = self
            .log_sums
            .as_ref()
            .map(|sums| sums.lock().unwrap_or_else(PoisonError::into_inner));
        let log_sums = log_sums.as_deref().map_or(&[][..], Vec::as_slice);
        let gradients = Gradients {
            queries: &mut query_gradient,
            keys: &mut key_gradient,
            values: &mut value_gradient,
        };
        slices::with_all(
            [queries, keys, values, output, gradient],
            |[queries, keys, values, output, gradient]| {
                let results = Results {
                    output,
                    log_sums,
                    gradient,
                };
                self.backward(Inputs { queries, keys, values }, results, gradients);
                Ok(())
            },
        )?;
        Ok((
            Some(slices::tensor(query_gradient, queries)?),
            Some(slices::tensor(key_gradient, keys)?),
            Some(slices::tensor(value_gradient, values)?),
        ))
    }
}

/// The weights in the range `visible` of a row, after the others were set to zero.
fn zero_outside(row: &mut [f32], visible: std::ops::Range<usize>) -> &mut [f32] {
    let (seen, later) = row.split_at_mut(visible.end);
    later.fill(0.0);
    let (earlier, seen) = seen.split_at_mut(visible.start);
    earlier.fill(0.0);
    seen
}

fn scale(values: &mut [f32], by: f32) {
    for value in values {
        *value *= by;
    }
}
