//! The gated nonlinearity on the CPU, forward and backward.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use leadspan_simd::{exp_of_non_positive, on_widest_vectors};
use rayon::prelude::*;

use super::slices::{self, BLOCK};
use crate::activation::Activation;

/// √(2/π)
const SLOPE: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// The operation.
pub(crate) struct Gated(pub(crate) Activation);

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        match self.0 {
            Activation::Silu => "leadspan-swiglu",
            Activation::Gelu => "leadspan-geglu",
        }
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (slices::of(s1, l1)?, slices::of(s2, l2)?);
        let mut y = vec![0f32; gate.len()];
        y.par_chunks_mut(BLOCK)
            .zip(gate.par_chunks(BLOCK))
            .zip(up.par_chunks(BLOCK))
            .for_each(|((y, gate), up)| gated(self.0, gate, up, y));
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gate_gradient = vec![0f32; gate.elem_count()];
        let mut up_gradient = vec![0f32; gate.elem_count()];
        slices::with_all([gate, up, gradient], |[gate, up, gradient]| {
            gate_gradient
                .par_chunks_mut(BLOCK)
                .zip(up_gradient.par_chunks_mut(BLOCK))
                .zip(gate.par_chunks(BLOCK).zip(up.par_chunks(BLOCK)))
                .zip(gradient.par_chunks(BLOCK))
                .for_each(|(((gate_gradient, up_gradient), (gate, up)), gradient)| {
                    propagate(self.0, (gate, up, gradient), gate_gradient, up_gradient);
                });
            Ok(())
        })?;
        Ok((
            Some(slices::tensor(gate_gradient, gate)?),
            Some(slices::tensor(up_gradient, up)?),
        ))
    }
}

on_widest_vectors! {
    /// `y` ← f(gate) · up.
    fn gated(activation: Activation, gate: &[f32], up: &[f32], y: &mut [f32]) {
        match activation {
            Activation::Silu => multiply(gate, up, y, sigmoid),
            Activation::Gelu => multiply(gate, up, y, half_of_one_plus_tanh),
        }
    }
}

#[inline(always)]
fn multiply(gate: &[f32], up: &[f32], y: &mut [f32], factor: impl Fn(f32) -> f32) {
    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
        *y = gate * factor(gate) * up;
    }
}

on_widest_vectors! {
    /// Writes the gradients of gate and up, of `inputs`: gate, up, and the gradient of the result.
    fn propagate(
        activation: Activation,
        inputs: (&[f32], &[f32], &[f32]),
        gate_gradient: &mut [f32],
        up_gradient: &mut [f32],
    ) {
        match activation {
            Activation::Silu => differentiate(inputs, gate_gradient, up_gradient, sigmoid, silu_slope),
            Activation::Gelu => {
                differentiate(inputs, gate_gradient, up_gradient, half_of_one_plus_tanh, gelu_slope);
            }
        }
    }
}

/// `slope` gives the gradient of a gate: `outer` times the slope of the activation, whose factor is known.
#[inline(always)]
fn differentiate(
    (gate, up, gradient): (&[f32], &[f32], &[f32]),
    gate_gradient: &mut [f32],
    up_gradient: &mut [f32],
    factor: impl Fn(f32) -> f32,
    slope: impl Fn(f32, f32, f32) -> f32,
) {
    let inputs = gate.iter().zip(up).zip(gradient);
    for (((&gate, &up), &gradient), (gate_gradient, up_gradient)) in
        inputs.zip(gate_gradient.iter_mut().zip(up_gradient))
    {
        let factor = factor(gate);
        *gate_gradient = slope(gradient * up, gate, factor);
        *up_gradient = gradient * gate * factor;
    }
}

#[inline(always)]
fn silu_slope(outer: f32, gate: f32, sigmoid: f32) -> f32 {
    outer * sigmoid * (1.0 + gate * (1.0 - sigmoid))
}

#[inline(always)]
fn gelu_slope(outer: f32, gate: f32, half: f32) -> f32 {
    // 1 − tanh² = 4 · half · (1 − half).
    let steepness = SLOPE * (1.0 + 3.0 * CUBE * gate * gate);
    outer * (half + 2.0 * gate * half * (1.0 - half) * steepness)
}

/// 1 / (1 + exp(−x)), without overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let small = exp_of_non_positive(-x.abs());
    let positive = 1.0 / (1.0 + small);
    if x >= 0.0 { positive } else { small * positive }
}

/// ½ (1 + tanh u) = 1 / (1 + exp(−2u)) with u = √(2/π) (x + 0.044715 x³).
#[inline(always)]
fn half_of_one_plus_tanh(x: f32) -> f32 {
    sigmoid(2.0 * SLOPE * (x + CUBE * x * x * x))
}
