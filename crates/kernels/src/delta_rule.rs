//! Linear attention by the gated delta rule (arXiv 2412.06464), and the short convolution before it. Both have no backward pass.
//!
//! A head keeps a matrix S, `[key width, value width]`, which is zero before the first token of a sequence. A token with query q,
//! key k, value v, decay g ≤ 0 and rate β does
//!
//! ```text
//! S ← e^g S;  S ← S + k ⊗ β (v − Sᵀ k);  o = Sᵀ q
//! ```
//!
//! Queries and keys are divided by their length, and queries also by the root of their width. Everything is computed in single
//! precision on the CPU, token after token, also for tensors on other devices.

use candle_core::{DType, Device, Result, Tensor, bail};
use leadspan_simd::{exp_of_non_positive, on_widest_vectors};
use rayon::prelude::*;

use crate::cpu::slices;

/// The heads of linear attention.
#[derive(Clone, Copy, Debug)]
pub struct DeltaShape {
    /// The number of heads of queries and keys.
    pub key_heads: usize,
    /// The number of heads of values, a multiple of the key heads. Each key head serves consecutive ones.
    pub value_heads: usize,
    /// The width of a query and of a key.
    pub key_dim: usize,
    /// The width of a value.
    pub value_dim: usize,
}

impl DeltaShape {
    /// The width of the queries of all heads, and of the keys.
    pub const fn key_width(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// The width of the values of all heads.
    pub const fn value_width(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// The width of queries, keys and values together.
    pub const fn width(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }
}

/// Added to the sum of squares before its root is taken.
const EPS: f32 = 1e-6;

/// The values of `x` in single precision in CPU memory.
fn on_cpu(x: &Tensor) -> Result<Tensor> {
    x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()
}

/// The gated delta rule within each sequence. Sequence b has the rows `edges[b]..edges[b + 1]`.
///
/// # Shapes
///
/// `mixed` `[N, width]` holds queries, keys and values side by side. `decays` and `rates` are `[N, value heads]`. The result is
/// `[N, value width]`, with the dtype and on the device of `mixed`.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn gated_delta_rule(
    mixed: &Tensor,
    decays: &Tensor,
    rates: &Tensor,
    shape: DeltaShape,
    edges: &[usize],
) -> Result<Tensor> {
    let (rows, width) = mixed.dims2()?;
    let of_heads = (rows, shape.value_heads);
    if width != shape.width() || decays.dims2()? != of_heads || rates.dims2()? != of_heads {
        bail!("the gated delta rule got {width} columns for {shape:?}");
    }
    let tasks: Vec<(usize, usize, usize)> = edges
        .windows(2)
        .flat_map(|bounds| (0..shape.value_heads).map(move |head| (bounds[0], bounds[1], head)))
        .collect();
    let (mixed_values, decays, rates) = (on_cpu(mixed)?, on_cpu(decays)?, on_cpu(rates)?);
    let mut output = vec![0f32; rows * shape.value_width()];
    slices::with_all([&mixed_values, &decays, &rates], |[mixed, decays, rates]| {
        let results: Vec<Vec<f32>> = (tasks.par_iter())
            .map(|&(first, end, head)| head_output(mixed, decays, rates, shape, (first, end), head))
            .collect();
        for (&(first, _, head), result) in tasks.iter().zip(&results) {
            for (token, value) in result.chunks_exact(shape.value_dim).enumerate() {
                let place = (first + token) * shape.value_width() + head * shape.value_dim;
                output[place..place + shape.value_dim].copy_from_slice(value);
            }
        }
        Ok(())
    })?;
    let output = Tensor::from_vec(output, (rows, shape.value_width()), &Device::Cpu)?;
    output.to_device(mixed.device())?.to_dtype(mixed.dtype())
}

/// The output of one head for the rows `first..end`, which are a sequence.
fn head_output(
    mixed: &[f32],
    decays: &[f32],
    rates: &[f32],
    shape: DeltaShape,
    (first, end): (usize, usize),
    head: usize,
) -> Vec<f32> {
    let DeltaShape { key_dim, value_dim, .. } = shape;
    let key_head = head / (shape.value_heads / shape.key_heads);
    let mut state = vec![0f32; key_dim * value_dim];
    let mut memory = vec![0f32; value_dim];
    let mut output = vec![0f32; (end - first) * value_dim];
    let (mut query, mut key) = (vec![0f32; key_dim], vec![0f32; key_dim]);
    for (row, output) in (first..end).zip(output.chunks_exact_mut(value_dim)) {
        let row_values = &mixed[row * shape.width()..(row + 1) * shape.width()];
        let (queries, rest) = row_values.split_at(shape.key_width());
        let (keys, values) = rest.split_at(shape.key_width());
        let place = key_head * key_dim;
        of_unit_length(
            &queries[place..place + key_dim],
            (key_dim as f32).sqrt().recip(),
            &mut query,
        );
        of_unit_length(&keys[place..place + key_dim], 1.0, &mut key);
        let value = &values[head * value_dim..(head + 1) * value_dim];
        let at = row * shape.value_heads + head;
        advance(
            &mut state,
            &query,
            &key,
            value,
            (decays[at].exp(), rates[at]),
            &mut memory,
            output,
        );
    }
    output
}

/// `into` ← x / √(Σ x² + ε) · scale.
fn of_unit_length(x: &[f32], scale: f32, into: &mut [f32]) {
    let squares: f32 = x.iter().map(|x| x * x).sum();
    let factor = scale / (squares + EPS).sqrt();
    for (into, x) in into.iter_mut().zip(x) {
        *into = x * factor;
    }
}

on_widest_vectors! {
    /// Takes a state one token further, with its decay and its rate, and writes the token's output.
    fn advance(
        state: &mut [f32],
        query: &[f32],
        key: &[f32],
        value: &[f32],
        gates: (f32, f32),
        memory: &mut [f32],
        output: &mut [f32],
    ) {
        let ((decay, rate), width) = (gates, value.len());
        memory.fill(0.0);
        for (row, &key) in state.chunks_exact_mut(width).zip(key) {
            for (memory, state) in memory.iter_mut().zip(row) {
                *state *= decay;
                *memory += key * *state;
            }
        }
        for (memory, &value) in memory.iter_mut().zip(value) {
            *memory = (value - *memory) * rate;
        }
        output.fill(0.0);
        for (row, (&key, &query)) in state.chunks_exact_mut(width).zip(key.iter().zip(query)) {
            for ((output, state), &change) in output.iter_mut().zip(row).zip(memory.iter()) {
                *state += key * change;
                *output += query * *state;
            }
        }
    }
}

/// silu of a causal convolution of each column within each sequence: y_t = silu(Σ_j w_j · x_{t − K + 1 + j}), with zeros before
/// the sequence.
///
/// # Shapes
///
/// `x` is `[N, C]`, `weight` `[C, K]`, the result `[N, C]` with the dtype and on the device of `x`.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn short_convolution(x: &Tensor, weight: &Tensor, edges: &[usize]) -> Result<Tensor> {
    let ((rows, columns), (out, taps)) = (x.dims2()?, weight.dims2()?);
    if columns != out || edges.last() != Some(&rows) {
        bail!("a convolution of {out} columns got {columns}");
    }
    let (values, weight) = (on_cpu(x)?, on_cpu(&weight.t()?)?);
    // The first row of the sequence of each row.
    let starts: Vec<usize> = (edges.windows(2))
        .flat_map(|bounds| std::iter::repeat_n(bounds[0], bounds[1] - bounds[0]))
        .collect();
    let mut output = vec![0f32; rows * columns];
    slices::with_all([&values, &weight], |[values, weight]| {
        let row_outputs = output.par_chunks_mut(columns.max(1)).zip(&starts);
        row_outputs.enumerate().for_each(|(row, (output, &start))| {
            for (tap, weight) in weight.chunks_exact(columns).enumerate() {
                // The row `taps - 1 - tap` before this one.
                if let Some(seen) = (row + tap + 1).checked_sub(taps).filter(|&seen| seen >= start) {
                    add_products(output, weight, &values[seen * columns..(seen + 1) * columns]);
                }
            }
            silu(output);
        });
        Ok(())
    })?;
    let output = Tensor::from_vec(output, (rows, columns), &Device::Cpu)?;
    output.to_device(x.device())?.to_dtype(x.dtype())
}

on_widest_vectors! {
    /// `sums` += a · b, element by element.
    fn add_products(sums: &mut [f32], a: &[f32], b: &[f32]) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
}

on_widest_vectors! {
    /// x ← x · σ(x)
    fn silu(values: &mut [f32]) {
        for value in values {
            let small = exp_of_non_positive(-value.abs());
            let positive = 1.0 / (1.0 + small);
            *value *= if *value >= 0.0 { positive } else { small * positive };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32], columns: usize) -> Tensor {
        Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_convolution_starts_anew_with_every_sequence() {
        let x = tensor(&[1.0, 2.0, 3.0, 10.0, 20.0], 1);
        let weight = tensor(&[0.5, 1.0], 2);
        let found: Vec<f32> = short_convolution(&x, &weight, &[0, 3, 5])
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        for (found, sum) in found.into_iter().zip([1.0f32, 2.5, 4.0, 10.0, 25.0]) {
            assert!((found - sum / (1.0 + (-sum).exp())).abs() < 1e-5, "{found} {sum}");
        }
    }

    #[test]
    fn the_delta_rule_gives_what_is_computed_by_hand() {
        let shape = DeltaShape {
            key_heads: 1,
            value_heads: 1,
            key_dim: 1,
            value_dim: 2,
        };
        // Queries, keys and values of two tokens, and of a sequence of its own. One-dimensional keys become their sign.
        let mixed = tensor(&[1.0, 2.0, 4.0, 6.0, 3.0, -5.0, 1.0, 1.0, 1.0, 1.0, 7.0, 8.0], 4);
        let decays = tensor(&[-1.0, 0.5f32.ln(), 0.0], 1);
        let rates = tensor(&[0.5, 1.0, 1.0], 1);
        let found = gated_delta_rule(&mixed, &decays, &rates, shape, &[0, 2, 3]).unwrap();
        // S = 0.5 · (4, 6); then S = (1, 1.5) with k = −1: S + k · (v + S) = S − (2, 2.5) = (−1, −1).
        let expected = [2.0, 3.0, -1.0, -1.0, 7.0, 8.0];
        for (found, expected) in found
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
            .into_iter()
            .zip(expected)
        {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }
}
