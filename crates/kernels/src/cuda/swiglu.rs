//! The gated nonlinearity on a GPU, forward and backward, on the halves of one product.

use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{
    library::{
        Argument::{Int, Pointer},
        Launch, kernel, launch,
    },
    memory::{Rows, uninitialised_storage, uninitialised_tensor, with_rows},
};
use crate::agreement::{SWIGLU_COLUMNS, SWIGLU_THREADS};

/// The operation: `[N, 2 · W]`, gate and up, to `[N, W]`.
pub(crate) struct SwiGlu;

fn how(rows: usize, width: usize) -> Launch {
    Launch {
        grid: (rows, width.div_ceil(SWIGLU_COLUMNS)),
        threads: SWIGLU_THREADS,
        shared_bytes: 0,
    }
}

/// The width W of `[N, 2 · W]`.
fn half(x: Rows) -> Result<usize> {
    if x.stride != x.width || x.width % 16 != 0 {
        bail!("there is no kernel for the gate of {x:?}");
    }
    Ok(x.width / 2)
}

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "leadspan-swiglu"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("the CUDA form of an operation got a tensor in host memory")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let device: &CudaDevice = &storage.device;
        let x = Rows::of(storage, layout)?;
        let width = half(x)?;
        let y = uninitialised_storage(device, x.dtype, x.rows * width)?;
        let into = Rows::of(&y, &Layout::contiguous((x.rows, width)))?;
        let arguments = [x.argument(), Int(width as i32), into.argument()];
        let name = kernel("swiglu", x.dtype, None)?;
        // SAFETY: the kernel's arguments; `half` checked the shape.
        unsafe { launch(device, "swiglu", &name, how(x.rows, width), &arguments) }?;
        Ok((y, Shape::from((x.rows, width))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        with_rows(x, |device, x| {
            let width = half(x)?;
            let x_gradient = uninitialised_tensor(device, x.dtype, x.rows, x.width)?;
            with_rows(&gradient, |_, gradient| {
                with_rows(&x_gradient, |_, into| {
                    let arguments = [
                        x.argument(),
                        gradient.argument(),
                        Int(width as i32),
                        into.argument(),
                        Pointer(0),
                    ];
                    let name = kernel("swiglu_backward", x.dtype, None)?;
                    // SAFETY: the kernel's arguments; `half` checked the shape.
                    unsafe { launch(device, "swiglu", &name, how(x.rows, width), &arguments) }
                })
            })?;
            Ok(Some(x_gradient))
        })
    }
}
