//! The backward pass of attention, one head of one sequence at a time.
//!
//! A task handles the keys and values of one key-value head, so it alone adds to their gradients.

use leadspan_simd::on_widest_vectors;
use rayon::prelude::*;

use super::{Attention, Inputs, KEY_BLOCK, LogSums, QUERY_TILE, Scratch, Tile};
use crate::{
    attention_shape::AttentionShape,
    cpu::product::{Disjoint, Matrix, Sizes, Threads, Write, product},
};

/// The results of the forward pass, and the gradient of its output.
#[derive(Clone, Copy)]
pub(super) struct Results<'a> {
    pub(super) output: &'a [f32],
    pub(super) log_sums: &'a [f32],
    pub(super) gradient: &'a [f32],
}

/// Where the gradients of the inputs go.
pub(super) struct Gradients<'a> {
    pub(super) queries: &'a mut [f32],
    pub(super) keys: &'a mut [f32],
    pub(super) values: &'a mut [f32],
}

impl Attention {
    /// Writes the gradients of the inputs.
    pub(super) fn backward(&self, inputs: Inputs<'_>, results: Results<'_>, gradients: Gradients<'_>) {
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
                    let tile = self.tile((start, tokens), key_head, first);
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

    /// Adds a tile, whose weights are in `scratch.weights`, to the gradients of keys and values, and writes the gradient of
    /// its queries to `scratch.output`.
    fn propagate_tile(&self, tile: Tile, head: usize, results: Results<'_>, scratch: &mut Scratch) {
        let AttentionShape { head_dim, .. } = self.shape;
        let query_width = self.shape.query_width();
        let (queries, columns) = (tile.queries(), tile.columns());
        let from = (tile.start + tile.first) * query_width + head * head_dim;
        let gradient = Matrix::strided(&results.gradient[from..], query_width);
        let this = |write, scale| (write, scale, Threads::This);
        let first_key = tile.from * head_dim;
        // ∂v += Pᵀ g
        product(
            &mut scratch.value_gradient[first_key..],
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
            &mut scratch.key_gradient[first_key..],
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

on_widest_vectors! {
    /// `slopes` ← weights ∘ (slopes − `dot`).
    fn score_slopes(weights: &[f32], dot: f32, slopes: &mut [f32]) {
        for (slope, &weight) in slopes.iter_mut().zip(weights) {
            *slope = weight * (*slope - dot);
        }
    }
}
