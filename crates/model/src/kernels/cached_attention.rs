//! Attention of one new token each of several samples, over the keys and values that each has kept of its own past.
//!
//! Fused, the keys of a head lie in blocks of sixteen tokens, element by element, so that sixteen scores add up side by side
//! without a sum across lanes; values lie token by token. A sample's result depends on its own past alone, bit for bit.

use candle_core::{D, DType, Device, Result, Tensor};
use leadspan_distribution::{exponentiate, on_widest_vectors};
use rayon::prelude::*;

use super::{AttentionShape, slices};

/// Tokens of a block of keys.
const BLOCK: usize = 16;

/// The keys and values of one sample's tokens in one layer.
#[derive(Debug)]
pub(crate) enum KeyValues {
    /// In memory that our own operations read, a part for each key-value head.
    Fused(Vec<Head>),
    /// As tensors: keys and values, `[T, key-value heads · D]` each.
    Stock(Tensor, Tensor),
}

/// The keys and values of one head.
#[derive(Debug, Default)]
pub(crate) struct Head {
    tokens: usize,
    /// `[blocks][D][BLOCK]`; zero beyond the last token.
    keys: Vec<f32>,
    /// `[T][D]`
    values: Vec<f32>,
}

impl KeyValues {
    /// Those of the rows `first..first + count` of `keys` and `values`, `[N, key-value heads · D]`.
    ///
    /// # Errors
    ///
    /// Where the device fails.
    pub(crate) fn new(
        (keys, values): (&Tensor, &Tensor),
        (first, count): (usize, usize),
        shape: AttentionShape,
        fused: bool,
    ) -> Result<Self> {
        if !fused {
            let part = |x: &Tensor| x.narrow(0, first, count)?.copy();
            return Ok(Self::Stock(part(keys)?, part(values)?));
        }
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
            Ok(Self::Fused(heads))
        })
    }
}

impl Head {
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

    /// What the queries, one after the other, take from all tokens so far.
    fn attend(&self, queries: &[f32], scale: f32, head_dim: usize, scores: &mut Vec<f32>, output: &mut [f32]) {
        let stride = self.tokens.next_multiple_of(BLOCK);
        scores.resize(queries.len() / head_dim * stride, 0.0);
        score(queries, &self.keys, head_dim, scale, scores);
        for scores in scores.chunks_exact_mut(stride) {
            let (seen, unseen) = scores.split_at_mut(self.tokens);
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

/// Keeps the keys and values `[N, key-value heads · D]` of one new token of each sample, and gives what the queries
/// `[N, heads · D]` take from all tokens of their samples, `[N, heads · D]`. There may be more rows than samples; those get
/// zeros.
///
/// # Errors
///
/// Where the shapes do not fit or the device fails.
pub(crate) fn cached_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    samples: &mut [&mut KeyValues],
) -> Result<Tensor> {
    if samples.iter().all(|sample| matches!(sample, KeyValues::Fused(_))) {
        return fused(queries, keys, values, shape, samples);
    }
    let (rows, width) = queries.dims2()?;
    let mut mixed = Vec::with_capacity(samples.len() + 1);
    for (row, sample) in samples.iter_mut().enumerate() {
        if let KeyValues::Stock(all_keys, all_values) = &mut **sample {
            *all_keys = Tensor::cat(&[&*all_keys, &keys.narrow(0, row, 1)?], 0)?;
            *all_values = Tensor::cat(&[&*all_values, &values.narrow(0, row, 1)?], 0)?;
            mixed.push(stock(&queries.narrow(0, row, 1)?, all_keys, all_values, shape)?);
        }
    }
    if mixed.len() < rows {
        mixed.push(Tensor::zeros(
            (rows - mixed.len(), width),
            queries.dtype(),
            queries.device(),
        )?);
    }
    Tensor::cat(&mixed, 0)
}

/// One token's queries `[1, heads · D]` over its sample's keys and values, `[T, key-value heads · D]`.
fn stock(queries: &Tensor, keys: &Tensor, values: &Tensor, shape: AttentionShape) -> Result<Tensor> {
    let (tokens, head_dim) = (keys.dim(0)?, shape.head_dim);
    // [key-value heads, T, D]
    let split = |x: &Tensor| -> Result<Tensor> {
        let heads = x.reshape((tokens, shape.key_value_heads, head_dim))?;
        heads.transpose(0, 1)?.contiguous()
    };
    let queries = queries.reshape((shape.key_value_heads, shape.group(), head_dim))?;
    let queries = (queries * f64::from(shape.scale()))?;
    let scores = queries.matmul(&split(keys)?.transpose(1, 2)?.contiguous()?)?;
    let weights = candle_nn::ops::softmax(&scores.to_dtype(DType::F32)?, D::Minus1)?.to_dtype(values.dtype())?;
    weights.matmul(&split(values)?)?.reshape((1, shape.query_width()))
}

fn fused(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    samples: &mut [&mut KeyValues],
) -> Result<Tensor> {
    let head_dim = shape.head_dim;
    let mut output = vec![0f32; queries.elem_count()];
    let mut heads: Vec<&mut Head> = samples
        .iter_mut()
        .flat_map(|sample| match &mut **sample {
            KeyValues::Fused(heads) => heads.iter_mut(),
            KeyValues::Stock(..) => [].iter_mut(),
        })
        .collect();
    slices::with_all([queries, keys, values], |[queries, keys, values]| {
        let group = shape.group() * head_dim;
        // A row's heads follow one another, and so do the rows.
        heads
            .par_iter_mut()
            .zip(output.par_chunks_mut(group))
            .zip(queries.par_chunks(group))
            .zip(keys.par_chunks(head_dim).zip(values.par_chunks(head_dim)))
            .for_each_init(Vec::new, |scores, (((head, output), queries), (key, value))| {
                head.push(key, value);
                head.attend(queries, shape.scale(), head_dim, scores, output);
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
        /// Tokens whose values are added while a part of the output is at hand.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Packed,
        kernels::{Kernels, attention},
    };

    fn values(seed: usize, rows: usize, width: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * width)
            .map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 253.25 - 2.0)
            .collect();
        Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_last_token_of_whole_sequences_takes_the_same_from_kept_keys_and_values() {
        for (heads, key_value_heads, head_dim) in [(9, 3, 64), (4, 2, 8), (2, 1, 6), (3, 3, 20)] {
            let shape = AttentionShape {
                heads,
                key_value_heads,
                head_dim,
            };
            let lengths = [1usize, 2, 16, 17, 33, 150];
            let rows = lengths.iter().sum();
            let queries = values(1, rows, heads * head_dim);
            let (keys, vals) = (
                values(2, rows, key_value_heads * head_dim),
                values(3, rows, key_value_heads * head_dim),
            );
            let tokens: Vec<Vec<u32>> = lengths.iter().map(|&length| vec![0; length]).collect();
            let packed = Packed::new(tokens.iter().map(Vec::as_slice));
            let whole = attention(&queries, &keys, &vals, shape, packed.shared_edges(), Kernels::Stock).unwrap();
            let last: Vec<u32> = packed.edges()[1..].iter().map(|&end| end as u32 - 1).collect();
            let last = Tensor::new(last, &Device::Cpu).unwrap();
            let of_last = |x: &Tensor| x.index_select(&last, 0).unwrap();
            for fused in [true, false] {
                let mut kept: Vec<KeyValues> = packed
                    .edges()
                    .windows(2)
                    .map(|edge| KeyValues::new((&keys, &vals), (edge[0], edge[1] - edge[0] - 1), shape, fused).unwrap())
                    .collect();
                let mut kept: Vec<&mut KeyValues> = kept.iter_mut().collect();
                let step = cached_attention(&of_last(&queries), &of_last(&keys), &of_last(&vals), shape, &mut kept);
                let difference = (step.unwrap() - of_last(&whole)).unwrap().abs().unwrap();
                let difference: f32 = difference.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap();
                assert!(difference < 2e-5, "{shape:?} {fused}: {difference}");
            }
        }
    }
}
