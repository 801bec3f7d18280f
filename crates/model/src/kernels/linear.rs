//! y = x · Wᵀ + b, with the sum of a residual stream where there is one.
//!
//! Backward, with g the gradient of y: ∂x = g · W; ∂W = gᵀ · x; ∂b = Σ_rows g. No weight is ever transposed in memory, the
//! gradients of W and b are added up where they are kept, and the residual stream is read where it is written to.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, bail};

use super::{
    Kernels, Pass,
    few_rows::few_rows_product,
    product::{Matrix, Sizes, Threads, Write, new_product, product},
    slices,
};
use crate::weight::{GradientSum, Weight};

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`, plus `bias` `[out]`, plus `residual` `[N, out]`.
///
/// # Errors
///
/// Where the shapes do not fit or the device fails.
pub fn linear<'a>(
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Weight>,
    residual: Option<&Tensor>,
    pass: impl Into<Pass<'a>>,
) -> Result<Tensor> {
    let pass = pass.into();
    if pass.takes_few_rows(x) {
        return of_few_rows(x, weight, bias, residual);
    }
    if pass.fuse(x) {
        let operation = Fused {
            weight: weight.clone(),
            bias: bias.cloned(),
        };
        let x = x.contiguous()?;
        return match residual {
            None => pass.one(&x, operation),
            Some(residual) => pass.two([&x, &residual.contiguous()?], operation),
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

/// The same for few rows, without gradients.
fn of_few_rows(x: &Tensor, weight: &Weight, bias: Option<&Weight>, residual: Option<&Tensor>) -> Result<Tensor> {
    let weight = weight.constant();
    let ((rows, width), (out, weight_width)) = (x.dims2()?, weight.dims2()?);
    if width != weight_width {
        bail!("rows of {width} values do not go through a weight of {weight_width} columns");
    }
    let mut y = slices::with_all([x, &weight], |[x, weight]| Ok(few_rows_product(x, weight, width, out)))?;
    if let Some(residual) = residual {
        slices::with(residual, |residual| {
            for (y, residual) in y.iter_mut().zip(residual) {
                *y += residual;
            }
            Ok(())
        })?;
    }
    if let Some(bias) = bias {
        slices::with(&bias.constant(), |bias| {
            for row in y.chunks_exact_mut(out) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
            Ok(())
        })?;
    }
    Tensor::from_vec(y, (rows, out), &Device::Cpu)
}

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`, as a constant: what a head without a graph makes of its rows.
///
/// # Errors
///
/// Where the shapes do not fit or the device fails.
pub fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((rows, width), (out, weight_width)) = (x.dims2()?, weight.dims2()?);
    if width != weight_width || !Kernels::Fused.fuse(x) || !Kernels::Fused.fuse(weight) {
        return x.detach().matmul(&weight.detach().t()?);
    }
    let sizes = Sizes {
        m: rows,
        n: out,
        k: width,
    };
    let y = slices::with_all([x, weight], |[x, weight]| {
        Ok(new_product(
            sizes,
            Matrix::rows(x, width),
            Matrix::rows(weight, width).transposed(),
        ))
    })?;
    Tensor::from_vec(y, (rows, out), &Device::Cpu)
}

/// The gradient of `x` in [`project`] from that of its result: `gradient` `[N, out]` times `weight` `[out, in]`.
///
/// # Errors
///
/// As of `project`.
pub fn project_back(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((rows, out), (weight_out, width)) = (gradient.dims2()?, weight.dims2()?);
    if out != weight_out || !Kernels::Fused.fuse(gradient) || !Kernels::Fused.fuse(weight) {
        return gradient.detach().matmul(&weight.detach());
    }
    let sizes = Sizes {
        m: rows,
        n: width,
        k: out,
    };
    let x_gradient = slices::with_all([gradient, weight], |[gradient, weight]| {
        Ok(new_product(
            sizes,
            Matrix::rows(gradient, out),
            Matrix::rows(weight, width),
        ))
    })?;
    Tensor::from_vec(x_gradient, (rows, width), &Device::Cpu)
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
    /// The product of `x`, `[N, in]`, on top of `residual`, `[N, out]`, where there is one.
    fn forward(&self, x: &[f32], rows: usize, residual: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let weight = self.weight.constant();
        let (out, width) = weight.dims2()?;
        let mut y = slices::with(&weight, |weight| {
            let sizes = Sizes {
                m: rows,
                n: out,
                k: width,
            };
            let (x, transposed) = (Matrix::rows(x, width), Matrix::rows(weight, width).transposed());
            let Some(residual) = residual else {
                return Ok(new_product(sizes, x, transposed));
            };
            let mut y = residual.to_vec();
            product(&mut y, sizes, x, transposed, (Write::Add, 1.0, Threads::All));
            Ok(y)
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
        if let Some(sum) = self.weight.gradient() {
            add_outer_products(sum, gradient, x)?;
        }
        if let Some(bias) = &self.bias {
            let out = gradient.dim(1)?;
            slices::with(gradient, |gradient| {
                bias.add_gradient(|sum| {
                    for row in gradient.chunks_exact(out) {
                        for (sum, value) in sum.iter_mut().zip(row) {
                            *sum += value;
                        }
                    }
                })
            })?;
        }
        project_back(gradient, &self.weight.constant())
    }
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        "leadspan-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, _) = layout.shape().dims2()?;
        self.forward(slices::of(storage, layout)?, rows, None)
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
        self.forward(slices::of(s1, l1)?, rows, Some(slices::of(s2, l2)?))
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
