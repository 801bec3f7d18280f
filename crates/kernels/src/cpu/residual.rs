//! Scaled sums on the CPU, forward and backward.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::slices::{self, BLOCK};

/// residual + scale · x.
pub(crate) struct AddScaled(pub(crate) f32);

/// scale · x.
pub(crate) struct Scaled(pub(crate) f32);

impl CustomOp2 for AddScaled {
    fn name(&self) -> &'static str {
        "leadspan-add-scaled"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (residual, x) = (slices::of(s1, l1)?, slices::of(s2, l2)?);
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(BLOCK)
            .zip(residual.par_chunks(BLOCK).zip(x.par_chunks(BLOCK)))
            .for_each(|(y, (residual, x))| {
                for ((y, &residual), &x) in y.iter_mut().zip(residual).zip(x) {
                    *y = residual + self.0 * x;
                }
            });
        Ok((CpuStorage::F32(y), l2.shape().clone()))
    }

    fn bwd(
        &self,
        _residual: &Tensor,
        x: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let x_gradient = slices::with(gradient, |gradient| slices::tensor(times(gradient, self.0), x))?;
        Ok((Some(gradient.clone()), Some(x_gradient)))
    }
}

impl CustomOp1 for Scaled {
    fn name(&self) -> &'static str {
        "leadspan-scaled"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = times(slices::of(storage, layout)?, self.0);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        slices::with(gradient, |gradient| slices::tensor(times(gradient, self.0), x)).map(Some)
    }
}

fn times(x: &[f32], scale: f32) -> Vec<f32> {
    x.par_iter().with_min_len(BLOCK).map(|&x| scale * x).collect()
}
