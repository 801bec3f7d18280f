//! Normalisation on the CPU, forward and backward.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use leadspan_simd::on_widest_vectors;
use rayon::prelude::*;

use super::slices;
use crate::weight::Weight;

/// The number of rows of one task.
const ROWS: usize = 32;

const LANES: usize = 16;

/// The operation.
pub(crate) struct RmsNorm {
    weight: Weight,
    eps: f32,
    /// Whether rows are multiplied by 1 + weight.
    around_one: bool,
}

impl RmsNorm {
    pub(crate) fn new(weight: &Weight, eps: f64, around_one: bool) -> Self {
        Self {
            weight: weight.clone(),
            eps: eps as f32,
            around_one,
        }
    }

    /// What the elements of a row are multiplied by.
    fn factors(&self) -> Result<Tensor> {
        let weight = self.weight.constant();
        if self.around_one { weight + 1.0 } else { Ok(weight) }
    }
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "leadspan-rms-norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slices::of(storage, layout)?;
        let mut y = vec![0f32; x.len()];
        slices::with(&self.factors()?, |weight| {
            let block = ROWS * weight.len();
            y.par_chunks_mut(block)
                .zip(x.par_chunks(block))
                .for_each(|(y, x)| normalise(x, weight, self.eps, y));
            Ok(())
        })?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut x_gradient = vec![0f32; x.elem_count()];
        let factors = self.factors()?;
        // A constant weight needs none.
        let learns = self.weight.gradient().is_some();
        let weight_parts: Vec<Vec<f32>> = slices::with_all([&factors, x, gradient], |[weight, x, gradient]| {
            let block = ROWS * weight.len();
            let rows = x_gradient
                .par_chunks_mut(block)
                .zip(x.par_chunks(block))
                .zip(gradient.par_chunks(block));
            Ok(rows
                .map(|((x_gradient, x), gradient)| {
                    let mut weight_gradient = vec![0f32; if learns { weight.len() } else { 0 }];
                    propagate(x, weight, self.eps, gradient, x_gradient, &mut weight_gradient);
                    weight_gradient
                })
                .collect())
        })?;
        self.weight.add_gradient(|sum| {
            for part in &weight_parts {
                for (sum, value) in sum.iter_mut().zip(part) {
                    *sum += value;
                }
            }
        })?;
        Ok(Some(slices::tensor(x_gradient, x)?))
    }
}

on_widest_vectors! {
    /// `y` ← x / √(mean(x²) + ε) · weight, for each row.
    fn normalise(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
        for (x, y) in x.chunks_exact(weight.len()).zip(y.chunks_exact_mut(weight.len())) {
            let scale = inverse_root(x, eps);
            for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
                *y = x * scale * weight;
            }
        }
    }
}

on_widest_vectors! {
    /// Writes the gradient of each row of `x`, and adds to the gradient of the weight, unless that is empty.
    fn propagate(
        x: &[f32],
        weight: &[f32],
        eps: f32,
        gradient: &[f32],
        x_gradient: &mut [f32],
        weight_gradient: &mut [f32],
    ) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for ((x, gradient), x_gradient) in rows.zip(x_gradient.chunks_exact_mut(width)) {
            let scale = inverse_root(x, eps);
            for index in 0..width {
                x_gradient[index] = gradient[index] * weight[index];
            }
            for ((sum, &gradient), &x) in weight_gradient.iter_mut().zip(gradient).zip(x) {
                *sum += gradient * x * scale;
            }
            let pull = sum_of_products(x, x_gradient) * scale * scale * scale / width as f32;
            for (x_gradient, &x) in x_gradient.iter_mut().zip(x) {
                *x_gradient = *x_gradient * scale - x * pull;
            }
        }
    }
}

/// 1 / √(mean(x²) + ε).
#[inline(always)]
fn inverse_root(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of_products(x, x) / x.len() as f32 + eps).sqrt()
}

/// Σ x·y, summed in the same lanes for every instruction set.
#[inline(always)]
fn sum_of_products(x: &[f32], y: &[f32]) -> f32 {
    let (x_lanes, x_rest) = x.as_chunks::<LANES>();
    let (y_lanes, y_rest) = y.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (x, y) in x_lanes.iter().zip(y_lanes) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    for (sum, (x, y)) in sums.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *sum += x * y;
    }
    sums.iter().sum()
}
