//! Attention over stored keys and values on the CPU.
//!
//! The keys of a head are stored in blocks of sixteen tokens, element by element, so that sixteen scores sum side by side
//! without a sum across lanes. Values are stored token by token. A sample's result depends on its own past alone, bit for
//! bit.

use candle_core::{Device, Result, Tensor};
use leadspan_simd::{exponentiate, on_widest_vectors};
use rayon::prelude::*;

use super::slices;
use crate::attention_shape::AttentionShape;

/// The number of tokens in a block of keys.
const BLOCK: usize = 16;

/// The keys and values of one key-value head of one sample.
#[derive(Debug, Default)]
pub(crate) struct Head {
    tokens: usize,
    /// `[blocks][D][BLOCK]`; zero beyond the last token.
    keys: Vec<f32>,
    /// `[T][D]`
    values: Vec<f32>,
}

/// The heads with copies of the rows `first..first + count` of `keys` and `values`, `[N, key-value heads · D]`.
pub(crate) fn heads(
    (keys, values): (&Tensor, &Tensor),
    (first, count): (usize, usize),
    shape: AttentionShape,
) -> Result<Vec<Head>> {
    let head_dim = shape.head_dim;
    slices::with_all([keys, values], |[keys, values]| {
        let mut heads: Vec<Head> = (0..shape.key_value_heads).map(|_| Head::default()).collect();
        let width = shape.key_width();
        for token in first..first + count {
            let row = token * width..(token + 1) * width;
            let rows = keys[row.clone()]
                .chunks_exact(head_dim)
                .zip(values[row].chunks_exact(head_dim));
            for (head, (key, value)) in heads.iter_mut().zip(rows) {
                head.push(key, value);
            }
        }
        Ok(heads)
    })
}

impl Head {
    /// Appends the key and the value of one token.
    fn push(&mut self, key: &[f32], value: &[f32]) {
        let (block, lane) = (self.tokens / BLOCK, self.tokens % BLOCK);
        if lane == 0 {
            self.keys.resize((block + 1) * key.len() * BLOCK, 0.0);
        }
        let block = &mut self.keys[block * key.len() * BLOCK..];
        for (element, &key) in key.iter().enumerate() {
            block[element * BLOCK + lane] = key;
        }
        self.values.extend_from_slice(value);
        self.tokens += 1;
    }

    /// The attention of the queries, one after the other, over all tokens so far that the newest attends to.
    fn attend(&self, queries: &[f32], shape: AttentionShape, scores: &mut Vec<f32>, output: &mut [f32]) {
        let (head_dim, scale) = (shape.head_dim, shape.scale());
        let from = self.tokens.checked_sub(1).map_or(0, |newest| shape.first_seen(newest));
        let stride = self.tokens.next_multiple_of(BLOCK);
        scores.resize(queries.len() / head_dim * stride, 0.0);
        score(queries, &self.keys, head_dim, scale, scores);
        for scores in scores.chunks_exact_mut(stride) {
            let (seen, unseen) = scores.split_at_mut(self.tokens);
            let (outside, seen) = seen.split_at_mut(from);
            outside.fill(0.0);
            let max = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let share = (1.0 / exponentiate(seen, max)) as f32;
            for weight in seen {
                *weight *= share;
            }
            unseen.fill(0.0);
        }
        output.fill(0.0);
        mix(scores, stride, &self.values, head_dim, output);
    }
}

/// Appends one new token to each sample and computes its attention. `heads` are the heads of all samples, sample after
/// sample.
pub(crate) fn attend(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    mut heads: Vec<&mut Head>,
) -> Result<Tensor> {
    let head_dim = shape.head_dim;
    let mut output = vec![0f32; queries.elem_count()];
    slices::with_all([queries, keys, values], |[queries, keys, values]| {
        let group = shape.group() * head_dim;
        // The heads of a row are consecutive, and so are the rows.
        heads
            .par_iter_mut()
            .zip(output.par_chunks_mut(group))
            .zip(queries.par_chunks(group))
            .zip(keys.par_chunks(head_dim).zip(values.par_chunks(head_dim)))
            .for_each_init(Vec::new, |scores, (((head, output), queries), (key, value))| {
                head.push(key, value);
                head.attend(queries, shape, scores, output);
            });
        Ok(())
    })?;
    Tensor::from_vec(output, queries.shape(), &Device::Cpu)
}

on_widest_vectors! {
    /// `scores` `[queries][tokens, whole blocks]` ← scale · q · k.
    fn score(queries: &[f32], keys: &[f32], head_dim: usize, scale: f32, scores: &mut [f32]) {
        let stride = keys.len() / head_dim;
        for (block, keys) in keys.chunks_exact(head_dim * BLOCK).enumerate() {
            for (query, queries) in queries.chunks_exact(head_dim).enumerate() {
                let mut sums = [0f32; BLOCK];
                for (&query, keys) in queries.iter().zip(keys.as_chunks::<BLOCK>().0) {
                    for lane in 0..BLOCK {
                        sums[lane] += query * keys[lane];
                    }
                }
                for (score, sum) in scores[query * stride + block * BLOCK..].iter_mut().zip(sums) {
                    *score = sum * scale;
                }
            }
        }
    }
}

on_widest_vectors! {
    /// `output` `[queries][D]` += Σ weight · value, token after token.
    fn mix(weights: &[f32], stride: usize, values: &[f32], head_dim: usize, output: &mut [f32]) {
        /// The number of tokens whose values are added in one pass over the output.
        const AT_ONCE: usize = 4;
        for (index, values) in values.chunks(AT_ONCE * head_dim).enumerate() {
            for (weights, output) in weights.chunks_exact(stride).zip(output.chunks_exact_mut(head_dim)) {
                let weights = &weights[index * AT_ONCE..];
                if values.len() == AT_ONCE * head_dim {
                    let (first, rest) = values.split_at(head_dim);
                    let (second, rest) = rest.split_at(head_dim);
                    let (third, fourth) = rest.split_at(head_dim);
                    for element in 0..head_dim {
                        let sum = output[element] + weights[0] * first[element];
                        let sum = sum + weights[1] * second[element];
                        let sum = sum + weights[2] * third[element];
                        output[element] = sum + weights[3] * fourth[element];
                    }
                } else {
                    for (&weight, values) in weights.iter().zip(values.chunks_exact(head_dim)) {
                        for (sum, &value) in output.iter_mut().zip(values) {
                            *sum += weight * value;
                        }
                    }
                }
            }
        }
    }
}
