//! In-place operations on whole tensors, on the CPU, in single precision and multithreaded: those of an update, and the sum of
//! squares.

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// Elements that one task works on.
const BLOCK: usize = 1 << 15;

/// x ← keep · x + add · y, or with y².
pub(super) struct Blend {
    pub(super) keep: f32,
    pub(super) add: f32,
    pub(super) square: bool,
}

/// θ ← keep · θ − rate · m / (√v · `root_scale` + ε).
pub(super) struct MoveBy {
    pub(super) rate: f32,
    pub(super) root_scale: f32,
    pub(super) epsilon: f32,
    pub(super) keep: f32,
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("the optimizer works on contiguous single-precision tensors"),
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("the optimizer works on contiguous single-precision tensors"),
    }
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "leadspan-adamw-moment"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (moments, gradients) = (slice_mut(s1, l1)?, slice(s2, l2)?);
        moments
            .par_chunks_mut(BLOCK)
            .zip(gradients.par_chunks(BLOCK))
            .for_each(|(moments, gradients)| {
                for (moment, &gradient) in moments.iter_mut().zip(gradients) {
                    let term = if self.square { gradient * gradient } else { gradient };
                    *moment = self.keep * *moment + self.add * term;
                }
            });
        Ok(())
    }
}

impl InplaceOp3 for MoveBy {
    fn name(&self) -> &'static str {
        "leadspan-adamw-move"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<()> {
        let (values, first, second) = (slice_mut(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        values
            .par_chunks_mut(BLOCK)
            .zip(first.par_chunks(BLOCK))
            .zip(second.par_chunks(BLOCK))
            .for_each(|((values, first), second)| {
                for ((value, &first), &second) in values.iter_mut().zip(first).zip(second) {
                    *value = self.keep * *value - self.rate * first / (second.sqrt() * self.root_scale + self.epsilon);
                }
            });
        Ok(())
    }
}

/// Σ x², summed in double precision in a fixed order.
pub(crate) fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.contiguous()?;
    {
        let (storage, layout) = tensor.storage_and_layout();
        if let (Storage::Cpu(storage @ CpuStorage::F32(_)), layout) = (&*storage, layout) {
            let partial: Vec<f64> = slice(storage, layout)?
                .par_chunks(BLOCK)
                .map(|block| block.iter().map(|&x| f64::from(x) * f64::from(x)).sum())
                .collect();
            return Ok(partial.iter().sum());
        }
    }
    Ok(f64::from(
        tensor.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()?,
    ))
}

/// Whether every number of a tensor is finite.
pub(crate) fn is_finite(tensor: &Tensor) -> Result<bool> {
    let tensor = tensor.contiguous()?;
    {
        let (storage, layout) = tensor.storage_and_layout();
        if let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
            // Without a copy: the largest tensor is a good part of a student.
            match storage {
                CpuStorage::F32(values) => return Ok(values[start..end].par_iter().all(|value| value.is_finite())),
                CpuStorage::BF16(values) => return Ok(values[start..end].par_iter().all(|value| value.is_finite())),
                CpuStorage::F16(values) => return Ok(values[start..end].par_iter().all(|value| value.is_finite())),
                _ => {}
            }
        }
    }
    // What is not finite times zero is not a number, and neither is a sum with it.
    let zero = (tensor.to_dtype(DType::F32)? * 0.0)?.sum_all()?.to_scalar::<f32>()?;
    Ok(zero == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn squares_are_summed_without_losing_small_ones() {
        let mut many = vec![1e-3f32; 4_000_000];
        many[0] = 100.0;
        let sum = sum_of_squares(&Tensor::new(many, &Device::Cpu).unwrap()).unwrap();
        assert!((sum - 10_004.0).abs() < 1e-2, "{sum}");
    }
}
