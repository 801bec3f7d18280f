//! Causal attention on the CPU, forward and backward.
//!
//! Queries are handled in tiles, one head at a time; a tile's scores, at most `QUERY_TILE` × tokens, are all that is ever
//! held of the matrix of a sequence. Tiles are counted from the sequence's first token, and what lies behind a position has
//! weight zero, so a position's result depends on what precedes it alone.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use leadspan_simd::{exponentiate, on_widest_vectors};
use rayon::prelude::*;

use super::{
    product::{Disjoint, Matrix, Sizes, Threads, Write, product},
    slices,
};
use crate::AttentionShape;

/// Queries of a tile.
const QUERY_TILE: usize = 64;

/// Keys whose values are summed by one product, counted from the first key: a sum is cut at the same places whatever
/// follows.
const KEY_TILE: usize = 256;

/// Keys come in multiples of this, filled up with zeros: products of a few columns add up in another order.
const KEY_BLOCK: usize = 64;

pub(crate) struct Attention {
    shape: AttentionShape,
    edges: Arc<[usize]>,
    /// What the forward pass leaves for the backward one, where there will be one: for each token and head, the
    /// log-sum-exp of its scores.
    log_sums: Option<Mutex<Vec<f32>>>,
}

/// One tile of the queries of one group of heads.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// Rows of the sequence.
    start: usize,
    tokens: usize,
    key_head: usize,
    /// First query, counted from the sequence's first token.
    first: usize,
}

impl Tile {
    fn queries(&self) -> usize {
        QUERY_TILE.min(self.tokens - self.first)
    }

    /// Keys that its last query sees.
    fn seen(&self) -> usize {
        self.first + self.queries()
    }

    /// Those, filled up with zeros.
    fn columns(&self) -> usize {
        self.seen().next_multiple_of(KEY_BLOCK)
    }
}

/// Memory that a thread uses again for every tile.
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
    /// Keeps what a backward pass needs if `goes_back`.
    pub(crate) fn new(shape: AttentionShape, edges: &Arc<[usize]>, goes_back: bool) -> Self {
        Self {
            shape,
            edges: Arc::clone(edges),
            log_sums: goes_back.then(Mutex::default),
        }
    }

    fn sequences(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let bounds = self.edges.windows(2);
        bounds.map(|bounds| (bounds[0], bounds[1] - bounds[0]))
    }

    /// Copies the keys and values that a tile sees, filled up with zeros.
    fn gather(&self, tile: Tile, inputs: Inputs<'_>, scratch: &mut Scratch) {
        let (head_dim, width) = (self.shape.head_dim, self.shape.key_width());
        for (all, gathered) in [(inputs.keys, &mut scratch.keys), (inputs.values, &mut scratch.values)] {
            gathered.clear();
            for token in tile.start..tile.start + tile.seen() {
                let place = token * width + tile.key_head * head_dim;
                gathered.extend_from_slice(&all[place..place + head_dim]);
            }
            gathered.resize(tile.columns() * head_dim, 0.0);
        }
    }

    /// Fills `weights` with softmax(s · q kᵀ) of one head's tile, whose keys were gathered; unseen keys have weight zero.
    ///
    /// `log_sums` holds the rows' log-sum-exps, or receives them.
    fn weights(&self, tile: Tile, head: usize, inputs: Inputs<'_>, scratch: &mut Scratch, log_sums: LogSums<'_>) {
        let AttentionShape { head_dim, .. } = self.shape;
        let (queries, columns) = (tile.queries(), tile.columns());
        // Always a full tile, so that the product adds up in the same order however many queries there are.
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
                    let (visible, hidden) = row.split_at_mut(tile.first + query + 1);
                    let max = visible.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let sum = exponentiate(visible, max);
                    scale(visible, (1.0 / sum) as f32);
                    hidden.fill(0.0);
                    log_sums[query] = max + sum.ln() as f32;
                }
            }
            LogSums::Known(log_sums) => {
                for (query, row) in scratch.weights.chunks_exact_mut(columns).take(queries).enumerate() {
                    let (visible, hidden) = row.split_at_mut(tile.first + query + 1);
                    exponentiate(visible, log_sums[query]);
                    hidden.fill(0.0);
                }
            }
        }
        scratch.weights[queries * columns..QUERY_TILE * columns].fill(0.0);
    }

    fn forward(&self, inputs: Inputs<'_>, output: &mut [f32], log_sums: &mut [f32]) {
        let AttentionShape { head_dim, .. } = self.shape;
        let mut tiles = Vec::new();
        for (start, tokens) in self.sequences() {
            for key_head in 0..self.shape.key_value_heads {
                tiles.extend((0..tokens).step_by(QUERY_TILE).map(|first| Tile {
                    start,
                    tokens,
                    key_head,
                    first,
                }));
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

    /// `scratch.output` ← weights · values, key tile after key tile.
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

    fn backward(&self, inputs: Inputs<'_>, results: Results<'_>, gradients: Gradients<'_>) {
        let rows = results.output.len() / self.shape.query_width().max(1);
        let mut tasks = Vec::new();
        for sequence in self.sequences() {
            tasks.extend((0..self.shape.key_value_heads).map(|key_head| (sequence, key_head)));
        }
        let into = [gradients.queries, gradients.keys, gradients.values].map(Disjoint::new);
        tasks
            .into_par_iter()
            .for_each_init(Scratch::default, |scratch, ((start, tokens), key_head)| {
                let head_dim = self.shape.head_dim;
                for gradient in [&mut scratch.key_gradient, &mut scratch.value_gradient] {
                    gradient.clear();
                    gradient.resize(tokens.next_multiple_of(KEY_BLOCK) * head_dim, 0.0);
                }
                for first in (0..tokens).step_by(QUERY_TILE) {
                    let tile = Tile {
                        start,
                        tokens,
                        key_head,
                        first,
                    };
                    self.gather(tile, inputs, scratch);
                    for head in key_head * self.shape.group()..(key_head + 1) * self.shape.group() {
                        let first_row = start + first;
                        let log_sums = &results.log_sums[head * rows + first_row..][..tile.queries()];
                        self.weights(tile, head, inputs, scratch, LogSums::Known(log_sums));
                        self.propagate_tile(tile, head, results, scratch);
                        for (query, row) in scratch.output.chunks_exact(head_dim).take(tile.queries()).enumerate() {
                            let place = (first_row + query) * self.shape.query_width() + head * head_dim;
                            // SAFETY: these columns of these rows of the queries belong to this task.
                            unsafe { into[0].slice(place, head_dim) }.copy_from_slice(row);
                        }
                    }
                }
                for (into, gradient) in into[1..].iter().zip([&scratch.key_gradient, &scratch.value_gradient]) {
                    for (token, row) in gradient.chunks_exact(head_dim).take(tokens).enumerate() {
                        let place = (start + token) * self.shape.key_width() + key_head * head_dim;
                        // SAFETY: this key-value head of this sequence belongs to this task.
                        unsafe { into.slice(place, head_dim) }.copy_from_slice(row);
                    }
                }
            });
    }

    /// With the weights of a tile at hand: adds to the gradients of keys and values, and leaves that of its queries in
    /// `scratch.output`.
    fn propagate_tile(&self, tile: Tile, head: usize, results: Results<'_>, scratch: &mut Scratch) {
        let AttentionShape { head_dim, .. } = self.shape;
        let query_width = self.shape.query_width();
        let (queries, columns) = (tile.queries(), tile.columns());
        let from = (tile.start + tile.first) * query_width + head * head_dim;
        let gradient = Matrix::strided(&results.gradient[from..], query_width);
        let this = |write, scale| (write, scale, Threads::This);
        // ∂v += Pᵀ g
        product(
            &mut scratch.value_gradient,
            Sizes {
                m: columns,
                n: head_dim,
                k: queries,
            },
            Matrix::rows(&scratch.weights, columns).transposed(),
            gradient,
            this(Write::Add, 1.0),
        );
        // ∂P = g vᵀ
        scratch.slopes.resize(QUERY_TILE * columns, 0.0);
        product(
            &mut scratch.slopes,
            Sizes {
                m: queries,
                n: columns,
                k: head_dim,
            },
            gradient,
            Matrix::rows(&scratch.values, head_dim).transposed(),
            this(Write::Replace, 1.0),
        );
        // ∂S = P ∘ (∂P − rowsum(g ∘ o))
        for query in 0..queries {
            let row = from + query * query_width;
            let dot: f32 = (results.gradient[row..row + head_dim].iter())
                .zip(&results.output[row..row + head_dim])
                .map(|(gradient, output)| gradient * output)
                .sum();
            let columns = query * columns..(query + 1) * columns;
            score_slopes(&scratch.weights[columns.clone()], dot, &mut scratch.slopes[columns]);
        }
        let slopes = Matrix::rows(&scratch.slopes, columns);
        let scale = self.shape.scale();
        scratch.output.resize(QUERY_TILE * head_dim, 0.0);
        product(
            &mut scratch.output,
            Sizes {
                m: queries,
                n: head_dim,
                k: columns,
            },
            slopes,
            Matrix::rows(&scratch.keys, head_dim),
            this(Write::Replace, scale),
        );
        product(
            &mut scratch.key_gradient,
            Sizes {
                m: columns,
                n: head_dim,
                k: queries,
            },
            slopes.transposed(),
            Matrix::rows(&scratch.queries, head_dim),
            this(Write::Add, scale),
        );
    }
}

#[derive(Clone, Copy)]
struct Inputs<'a> {
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
}

/// What the forward pass gave, and the gradient of its output.
#[derive(Clone, Copy)]
struct Results<'a> {
    output: &'a [f32],
    log_sums: &'a [f32],
    gradient: &'a [f32],
}

struct Gradients<'a> {
    queries: &'a mut [f32],
    keys: &'a mut [f32],
    values: &'a mut [f32],
}

/// The log-sum-exps of a tile's rows.
enum LogSums<'a> {
    Receive(&'a mut [f32]),
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

fn scale(values: &mut [f32], by: f32) {
    for value in values {
        *value *= by;
    }
}

on_widest_vectors! {
    /// `slopes` ← weights ∘ (slopes − `dot`).
    fn score_slopes(weights: &[f32], dot: f32, slopes: &mut [f32]) {
        for (slope, &weight) in slopes.iter_mut().zip(weights) {
            *slope = weight * (*slope - dot);
        }
    }
}
