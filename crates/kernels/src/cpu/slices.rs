//! Single-precision values of tensors as slices.

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

/// The number of elements of one task in element-wise operations.
pub(crate) const BLOCK: usize = 1 << 14;

/// The values of a contiguous tensor in CPU memory.
pub(crate) fn of<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("fused operations work on contiguous single-precision tensors"),
    }
}

/// Calls `read` with the values of a tensor.
///
/// # Errors
///
/// If they are not single-precision values in CPU memory, or `read` fails.
pub fn with<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    with_all([tensor], |[values]| read(values))
}

/// Calls `read` with the values of several tensors.
pub(crate) fn with_all<const N: usize, T>(
    tensors: [&Tensor; N],
    read: impl FnOnce([&[f32]; N]) -> Result<T>,
) -> Result<T> {
    let contiguous: Vec<Tensor> = tensors
        .iter()
        .map(|tensor| tensor.contiguous())
        .collect::<Result<_>>()?;
    let storages: Vec<_> = contiguous.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [&[][..]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&storages) {
        match &**storage {
            Storage::Cpu(storage) => *slice = of(storage, layout)?,
            _ => bail!("fused operations work on tensors in CPU memory"),
        }
    }
    read(slices)
}

/// A constant tensor of these values in CPU memory, in the shape of `like`.
pub(crate) fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

/// Changes the single-precision values of a tensor in place, in CPU memory.
pub struct InPlace<F>(pub F);

impl<F: Fn(&mut [f32]) -> Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "leadspan-in-place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(values), Some((start, end))) => (self.0)(&mut values[start..end]),
            _ => bail!("fused operations work on contiguous single-precision tensors"),
        }
    }
}

/// Adds row i of `rows` to row `places[i]` of `into`. A place may occur several times. Other rows are neither read nor
/// written.
///
/// Columns are divided among threads, so every sum runs in the order of the rows.
///
/// # Panics
///
/// If a place is beyond `into`.
pub fn add_rows(into: &mut [f32], rows: &[f32], places: &[u32], width: usize) {
    const COLUMNS: usize = 64;
    let columns: Vec<usize> = (0..width).step_by(COLUMNS).collect();
    let target = super::product::Disjoint::new(into);
    columns.into_par_iter().for_each(|first| {
        let count = COLUMNS.min(width - first);
        for (row, &place) in rows.chunks_exact(width).zip(places) {
            // SAFETY: this task alone touches columns `first..first + count` of any row.
            let sum = unsafe { target.slice(place as usize * width + first, count) };
            for (sum, value) in sum.iter_mut().zip(&row[first..first + count]) {
                *sum += value;
            }
        }
    });
}

/// `[N, W]` with row i of `rows` at `places[i]`, which are all different, and zeros elsewhere.
///
/// # Errors
///
/// If the shapes do not fit or the device fails.
pub fn scatter_rows(rows: &Tensor, places: &Tensor, count: usize) -> Result<Tensor> {
    let zeros = Tensor::zeros((count, rows.dim(1)?), rows.dtype(), rows.device())?;
    zeros.index_add(places, rows, 0)
}
