//! Root-mean-square normalisation on a GPU, forward and backward.

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail,
    cuda_backend::cudarc::driver::CudaSlice,
};

use super::{
    library::{
        Argument::{Float, Int, Pointer},
        Launch, kernel, launch,
    },
    memory::{Rows, pointer, uninitialised, uninitialised_storage, uninitialised_tensor, with_rows},
};
use crate::{
    agreement::{
        COLUMN_SUM_COLUMNS, COLUMN_SUM_SHARED_BYTES, COLUMN_SUM_THREADS, NORM_SHARED_BYTES, NORM_THREADS,
        norm_backward_shared_bytes,
    },
    weight::Weight,
};

/// The rows of a block of the backward kernel, which leaves one row of partial sums.
const BLOCK_ROWS: usize = 32;

/// The operation.
pub(crate) struct RmsNorm {
    weight: Weight,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn new(weight: &Weight, eps: f64) -> Self {
        Self {
            weight: weight.clone(),
            eps: eps as f32,
        }
    }
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "leadspan-rms-norm"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("the CUDA form of an operation got a tensor in host memory")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = &storage.device;
        let x = Rows::of(storage, layout)?;
        let y = uninitialised_storage(device, x.dtype, x.rows * x.width)?;
        let normalised = Rows::of(&y, &Layout::contiguous((x.rows, x.width)))?;
        with_rows(self.weight.tensor(), |_, weight| {
            check(x, weight)?;
            let arguments = [
                x.argument(),
                Pointer(0),
                weight.argument(),
                Float(self.eps),
                Int(x.width as i32),
                normalised.argument(),
            ];
            let how = Launch {
                grid: (x.rows, 1),
                threads: NORM_THREADS,
                shared_bytes: NORM_SHARED_BYTES,
            };
            // SAFETY: the kernel's arguments; `check` compared the shapes.
            unsafe { launch(device, "norm", &kernel("rms_norm", x.dtype, None)?, how, &arguments) }
        })?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        with_rows(x, |device, x| {
            with_rows(&gradient, |_, gradient| {
                with_rows(self.weight.tensor(), |_, weight| {
                    check(x, weight)?;
                    let blocks = x.rows.div_ceil(BLOCK_ROWS);
                    let x_gradient = uninitialised_tensor(device, x.dtype, x.rows, x.width)?;
                    let parts = uninitialised::<f32>(device, blocks * x.width)?;
                    with_rows(&x_gradient, |_, x_gradient| {
                        let arguments = [
                            x.argument(),
                            gradient.argument(),
                            weight.argument(),
                            Float(self.eps),
                            Int(x.rows as i32),
                            Int(x.width as i32),
                            Int(BLOCK_ROWS as i32),
                            Int(0),
                            x_gradient.argument(),
                            pointer(device, &parts),
                        ];
                        let how = Launch {
                            grid: (blocks, 1),
                            threads: NORM_THREADS,
                            shared_bytes: norm_backward_shared_bytes(x.width),
                        };
                        let name = kernel("rms_norm_backward", x.dtype, None)?;
                        // SAFETY: the kernel's arguments; `check` compared the shapes.
                        unsafe { launch(device, "norm", &name, how, &arguments) }
                    })?;
                    if let Some(sum) = self.weight.gradient() {
                        sum.accumulate_on_device(|sum, kept| {
                            if kept == 0.0 {
                                sum.zero_set()?;
                            }
                            with_rows(sum, |_, sum| add_column_sums(device, &parts, blocks, sum))
                        })?;
                    }
                    Ok(Some(x_gradient))
                })
            })
        })
    }
}

/// Whether there is a kernel for rows of `x` and a weight of their width.
pub(crate) fn has_kernel(x: &Tensor, weight: &Weight) -> bool {
    weight.tensor().elem_count() % 8 == 0 && weight.tensor().dtype() == x.dtype()
}

/// # Errors
///
/// If there is no kernel for these shapes: rows are contiguous, and a thread takes eight values.
fn check(x: Rows, weight: Rows) -> Result<()> {
    if x.stride != x.width || x.width != weight.width || x.width % 8 != 0 || x.dtype != weight.dtype {
        bail!("there is no kernel that normalises {x:?} with {weight:?}");
    }
    Ok(())
}

/// Adds what blocks have left, `parts` `[rows, columns]`, to `sums` `[columns]`.
pub(super) fn add_column_sums(device: &CudaDevice, parts: &CudaSlice<f32>, rows: usize, sums: Rows) -> Result<()> {
    let columns = sums.rows * sums.width;
    let arguments = [
        pointer(device, parts),
        Int(rows as i32),
        Int(columns as i32),
        sums.argument(),
    ];
    let how = Launch {
        grid: (columns.div_ceil(COLUMN_SUM_COLUMNS), 1),
        threads: COLUMN_SUM_THREADS,
        shared_bytes: COLUMN_SUM_SHARED_BYTES,
    };
    // SAFETY: the kernel's arguments.
    unsafe { launch(device, "norm", "column_sums", how, &arguments) }
}
