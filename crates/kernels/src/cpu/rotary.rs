//! Rotation on the CPU, forward and backward.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use leadspan_simd::on_widest_vectors;
use rayon::prelude::*;

use super::slices;
use crate::rotary_table::{Angles, Pairing};

/// The number of tokens of one task.
const ROWS: usize = 16;

/// The operation.
pub(crate) struct Rotation {
    cosines: Tensor,
    sines: Tensor,
    pairing: Pairing,
    head_dim: usize,
    positions: Arc<[u32]>,
}

impl Rotation {
    pub(crate) fn new(angles: Angles, (pairing, head_dim): (Pairing, usize), positions: &Arc<[u32]>) -> Self {
        Self {
            cosines: angles.cosines,
            sines: angles.sines,
            pairing,
            head_dim,
            positions: Arc::clone(positions),
        }
    }

    /// Rotates by the angles if `sign` is 1, and by the opposite angles if it is −1.
    fn turn(&self, x: &[f32], width: usize, sign: f32) -> Result<Vec<f32>> {
        let half = self.cosines.dim(1)?;
        let mut y = vec![0f32; x.len()];
        slices::with_all([&self.cosines, &self.sines], |[cosines, sines]| {
            y.par_chunks_mut(ROWS * width)
                .zip(x.par_chunks(ROWS * width))
                .zip(self.positions.par_chunks(ROWS))
                .for_each(|((y, x), positions)| {
                    for ((y, x), &position) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(positions) {
                        let angles = position as usize * half..(position as usize + 1) * half;
                        let (cosines, sines) = (&cosines[angles.clone()], &sines[angles]);
                        match self.pairing {
                            Pairing::Halves => turn_halves(x, self.head_dim, cosines, sines, sign, y),
                            Pairing::Neighbours => turn_neighbours(x, self.head_dim, cosines, sines, sign, y),
                        }
                    }
                });
            Ok(())
        })?;
        Ok(y)
    }
}

impl CustomOp1 for Rotation {
    fn name(&self) -> &'static str {
        "leadspan-rotary"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let y = self.turn(slices::of(storage, layout)?, width, 1.0)?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(1)?;
        let turned = slices::with(gradient, |gradient| self.turn(gradient, width, -1.0))?;
        slices::tensor(turned, x).map(Some)
    }
}

on_widest_vectors! {
    /// Rotates element i with element i + `head_dim`/2.
    fn turn_halves(x: &[f32], head_dim: usize, cosines: &[f32], sines: &[f32], sign: f32, y: &mut [f32]) {
        let half = cosines.len();
        for (x, y) in x.chunks_exact(head_dim).zip(y.chunks_exact_mut(head_dim)) {
            y[2 * half..].copy_from_slice(&x[2 * half..]);
            let (x, y) = (&x[..2 * half], &mut y[..2 * half]);
            let (x_first, x_second) = x.split_at(half);
            let (y_first, y_second) = y.split_at_mut(half);
            for index in 0..half {
                let (cosine, sine) = (cosines[index], sign * sines[index]);
                y_first[index] = x_first[index] * cosine - x_second[index] * sine;
                y_second[index] = x_second[index] * cosine + x_first[index] * sine;
            }
        }
    }
}

on_widest_vectors! {
    /// Rotates element 2i with element 2i + 1.
    fn turn_neighbours(x: &[f32], head_dim: usize, cosines: &[f32], sines: &[f32], sign: f32, y: &mut [f32]) {
        let half = cosines.len();
        for (x, y) in x.chunks_exact(head_dim).zip(y.chunks_exact_mut(head_dim)) {
            y[2 * half..].copy_from_slice(&x[2 * half..]);
            let (x, y) = (&x[..2 * half], &mut y[..2 * half]);
            let pairs = x.as_chunks::<2>().0.iter().zip(y.as_chunks_mut::<2>().0);
            for ((x, y), (&cosine, &sine)) in pairs.zip(cosines.iter().zip(sines)) {
                let sine = sign * sine;
                *y = [x[0] * cosine - x[1] * sine, x[1] * cosine + x[0] * sine];
            }
        }
    }
}
