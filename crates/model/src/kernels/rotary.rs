//! Rotary position embedding (arXiv 2104.09864) of packed sequences: every pair of elements of a head is turned by its
//! frequency times the token's position in its own sequence.
//!
//! Backward is the rotation by the opposite angle.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};
use leadspan_distribution::on_widest_vectors;
use rayon::prelude::*;

use super::{Pass, slices};
use crate::rotary::{Angles, Pairing, RotaryTable};

/// Tokens that one task works on.
const ROWS: usize = 16;

/// Rotates `x` `[N, heads · D]`, whose rows are at `positions` of their sequences.
///
/// # Errors
///
/// Where the shapes do not fit, a position is beyond the model's context, or the device fails.
pub fn rotate<'a>(
    x: &Tensor,
    table: &RotaryTable,
    positions: &Arc<[u32]>,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor> {
    let pass = pass.into();
    let reach = positions.iter().max().map_or(0, |&last| last as usize + 1);
    let Angles { cosines, sines } = table.reaching(reach)?;
    if pass.fuse(x) {
        let operation = Fused {
            cosines,
            sines,
            pairing: table.pairing(),
            positions: Arc::clone(positions),
        };
        return pass.one(&x.contiguous()?, operation);
    }
    let (rows, width) = x.dims2()?;
    let half = cosines.dim(1)?;
    let places = Tensor::from_slice(positions, rows, x.device())?;
    let (cosines, sines) = (cosines.index_select(&places, 0)?, sines.index_select(&places, 0)?);
    if table.pairing() == Pairing::Halves && !x.track_op() {
        // The library's own, which has no way back.
        let heads = x.contiguous()?.reshape((1, rows, width / (2 * half), 2 * half))?;
        return candle_nn::rotary_emb::rope_thd(&heads, &cosines, &sines)?.reshape((rows, width));
    }
    // [N, 1, D / 2], to be spread over the heads.
    let (cosines, sines) = (cosines.unsqueeze(1)?, sines.unsqueeze(1)?);
    let turned = |first: &Tensor, second: &Tensor| -> Result<(Tensor, Tensor)> {
        Ok((
            (first.broadcast_mul(&cosines)? - second.broadcast_mul(&sines)?)?,
            (second.broadcast_mul(&cosines)? + first.broadcast_mul(&sines)?)?,
        ))
    };
    match table.pairing() {
        Pairing::Halves => {
            let heads = x.reshape((rows, width / (2 * half), 2 * half))?;
            let (first, second) = turned(
                &heads.narrow(D::Minus1, 0, half)?,
                &heads.narrow(D::Minus1, half, half)?,
            )?;
            Tensor::cat(&[first, second], D::Minus1)?.reshape((rows, width))
        }
        Pairing::Neighbours => {
            let pairs = x.reshape((rows, width / (2 * half), half, 2))?;
            let side = |index| pairs.narrow(3, index, 1)?.squeeze(3);
            let (first, second) = turned(&side(0)?, &side(1)?)?;
            Tensor::stack(&[first, second], 3)?.reshape((rows, width))
        }
    }
}

struct Fused {
    cosines: Tensor,
    sines: Tensor,
    pairing: Pairing,
    positions: Arc<[u32]>,
}

impl Fused {
    /// Rotates by the angles, or by the opposite ones where `sign` is −1.
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
                            Pairing::Halves => turn_halves(x, cosines, sines, sign, y),
                            Pairing::Neighbours => turn_neighbours(x, cosines, sines, sign, y),
                        }
                    }
                });
            Ok(())
        })?;
        Ok(y)
    }
}

impl CustomOp1 for Fused {
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
    fn turn_halves(x: &[f32], cosines: &[f32], sines: &[f32], sign: f32, y: &mut [f32]) {
        let half = cosines.len();
        for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
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
    fn turn_neighbours(x: &[f32], cosines: &[f32], sines: &[f32], sign: f32, y: &mut [f32]) {
        let half = cosines.len();
        for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
            let pairs = x.as_chunks::<2>().0.iter().zip(y.as_chunks_mut::<2>().0);
            for ((x, y), (&cosine, &sine)) in pairs.zip(cosines.iter().zip(sines)) {
                let sine = sign * sine;
                *y = [x[0] * cosine - x[1] * sine, x[1] * cosine + x[0] * sine];
            }
        }
    }
}
