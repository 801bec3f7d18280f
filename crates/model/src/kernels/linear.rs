//! y = x · Wᵀ + b, with the sum of a residual stream where there is one.
//!
//! Backward, with g the gradient of y: ∂x = g · W; ∂W = gᵀ · x; ∂b = Σ_rows g. No weight is ever transposed in memory, the
//! gradients of W and b are added up where they are kept, and the residual stream is read where it is written to.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::{
    Kernels,
    product::{Matrix, Sizes, Threads, Write, product},
    slices,
};
use crate::weight::{GradientSum, Weight};

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`, plus `bias` `[out]`, plus `residual` `[N, out]`.
///
/// # Errors
///
/// Where the shapes do not fit or the device fails.
pub fn linear(
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Weight>,
    residual: Option<&Tensor>,
    kernels: Kernels,
) -> Result<Tensor> {
    if kernels.fuse(x) {
        let operation = Fused {
            weight: weight.clone(),
            bias: bias.cloned(),
        };
        let x = x.contiguous()?;
        return match residual {
            None if x.track_op() => x.apply_op1(operation),
            None => x.apply_op1_no_bwd(&operation),
            Some(residual) => {
                let residual = residual.contiguous()?;
                if x.track_op() || residual.track_op() {
                    x.apply_op2(&residual, operation)
                } else {
                    x.apply_op2_no_bwd(&residual, &operation)
                }
            }
        };
    }
    let mut y = x.matmul(&weight.tensor().t()?)?;
    if let Some(bias) = bias {
        // In single precision, because so is then the sum over all rows that is the bias's gradient.
        let (wide, bias) = (y.to_dtype(DType::F32)?, bias.tensor().to_dtype(DType::F32)?);
        y = wide.broadcast_add(&bias)?.to_dtype(y.dtype())?;
    }
    match residual {
        Some(residual) => residual + y,
        None => Ok(y),
    }
}

/// `sum` `[out, in]` += `gradient`ᵀ · `x`, of `[N, out]` and `[N, in]`.
pub(crate) fn add_outer_products(sum: &GradientSum, gradient: &Tensor, x: &Tensor) -> Result<()> {
    let ((rows, out), (x_rows, width)) = (gradient.dims2()?, x.dims2()?);
    if rows != x_rows {
        bail!("a gradient of {rows} rows does not belong to an input of {x_rows}");
    }
    slices::with_all([gradient, x], |[gradient, x]| {
        sum.accumulate(|sum, write| {
            let sizes = Sizes {
                m: out,
                n: width,
                k: rows,
            };
            let left = Matrix::rows(gradient, out).transposed();
            product(sum, sizes, left, Matrix::rows(x, width), (write, 1.0, Threads::All));
        })
    })
}

struct Fused {
    weight: Weight,
    bias: Option<Weight>,
}

impl Fused {
    /// The product of `x`, `[N, in]`, on top of `y`, `[N, out]`.
    fn forward(&self, x: &[f32], rows: usize, mut y: Vec<f32>, write: Write) -> Result<(CpuStorage, Shape)> {
        let weight = self.weight.constant();
        let (out, width) = weight.dims2()?;
        slices::with(&weight, |weight| {
            let sizes = Sizes {
                m: rows,
                n: out,
                k: width,
            };
            let transposed = Matrix::rows(weight, width).transposed();
            product(
                &mut y,
                sizes,
                Matrix::rows(x, width),
                transposed,
                (write, 1.0, Threads::All),
            );
            Ok(())
        })?;
        if let Some(bias) = &self.bias {
            slices::with(&bias.constant(), |bias| {
                for row in y.chunks_exact_mut(out) {
                    for (value, bias) in row.iter_mut().zip(bias) {
                        *value += bias;
                    }
                }
                Ok(())
            })?;
        }
        Ok((CpuStorage::F32(y), Shape::from((rows, out))))
    }

    fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let weight = self.weight.constant();
        let (out, width) = weight.dims2()?;
        let rows = x.dim(0)?;
        let mut x_gradient = vec![0f32; rows * width];
        if let Some(sum) = self.weight.gradient() {
            add_outer_products(sum, gradient, x)?;
        }
        slices::with_all([gradient, &weight], |[gradient, weight]| {
            let sizes = Sizes {
                m: rows,
                n: width,
                k: out,
            };
            let (left, right) = (Matrix::rows(gradient, out), Matrix::rows(weight, width));
            product(&mut x_gradient, sizes, left, right, (Write::Replace, 1.0, Threads::All));
            let Some(bias) = &self.bias else { return Ok(()) };
            bias.add_gradient(|sum| {
                for row in gradient.chunks_exact(out) {
                    for (sum, value) in sum.iter_mut().zip(row) {
                        *sum += value;
                    }
                }
            })
        })?;
        slices::tensor(x_gradient, x)
    }
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        "leadspan-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, _) = layout.shape().dims2()?;
        let y = vec![0f32; rows * self.weight.constant().dim(0)?];
        self.forward(slices::of(storage, layout)?, rows, y, Write::Replace)
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.backward(x, gradient).map(Some)
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        "leadspan-linear-residual"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, _) = l1.shape().dims2()?;
        let y = slices::of(s2, l2)?.to_vec();
        self.forward(slices::of(s1, l1)?, rows, y, Write::Add)
    }

    fn bwd(
        &self,
        x: &Tensor,
        _residual: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(x, gradient)?), Some(gradient.clone())))
    }
}
