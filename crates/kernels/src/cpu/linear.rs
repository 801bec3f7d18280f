//! The linear operation on the CPU, forward and backward.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor, bail};

use super::{
    product::{Matrix, Sizes, Threads, Write, new_product, product},
    skinny_product::skinny_product,
    slices,
};
use crate::weight::Weight;

/// The operation for few rows of `x`, without gradients.
pub(crate) fn skinny_linear(
    x: &Tensor,
    weight: &Weight,
    bias: Option<&Weight>,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let weight = weight.constant();
    let ((rows, width), (out, weight_width)) = (x.dims2()?, weight.dims2()?);
    if width != weight_width {
        bail!("rows of {width} values do not go through a weight of {weight_width} columns");
    }
    let mut y = slices::with_all([x, &weight], |[x, weight]| Ok(skinny_product(x, weight, width, out)))?;
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

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`.
pub(crate) fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((rows, width), out) = (x.dims2()?, weight.dim(0)?);
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

/// `gradient` `[N, out]` times `weight` `[out, in]`.
pub(crate) fn project_back(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((rows, out), width) = (gradient.dims2()?, weight.dim(1)?);
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

/// The operation, with or without a residual stream.
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Weight>,
}

impl Linear {
    pub(crate) fn new(weight: &Weight, bias: Option<&Weight>) -> Self {
        Self {
            weight: weight.clone(),
            bias: bias.cloned(),
        }
    }

    fn forward(&self, x: &[f32], rows: usize, residual: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let (y, out) = self.rows(x, rows, residual)?;
        Ok((CpuStorage::F32(y), Shape::from((rows, out))))
    }

    /// The operation on `x` `[N, in]`, added to `residual` `[N, out]` if it is given: N rows of `out` values, and `out`.
    pub(super) fn rows(&self, x: &[f32], rows: usize, residual: Option<&[f32]>) -> Result<(Vec<f32>, usize)> {
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
        Ok((y, out))
    }

    /// Adds the product of `x` `[N, in]` to `y` `[N, out]`, without the bias.
    pub(super) fn add_to(&self, y: &mut [f32], x: &[f32], rows: usize) -> Result<()> {
        let weight = self.weight.constant();
        let (out, width) = weight.dims2()?;
        if y.len() != rows * out || x.len() != rows * width {
            bail!("{rows} rows do not go through a weight of {out} rows and {width} columns");
        }
        slices::with(&weight, |weight| {
            let sizes = Sizes {
                m: rows,
                n: out,
                k: width,
            };
            let (x, transposed) = (Matrix::rows(x, width), Matrix::rows(weight, width).transposed());
            product(y, sizes, x, transposed, (Write::Add, 1.0, Threads::All));
            Ok(())
        })
    }

    /// Adds to the gradients of weight and bias, and returns the gradient of `x`.
    pub(super) fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        if let Some(sum) = self.weight.gradient() {
            sum.add_product(gradient, x)?;
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

impl CustomOp1 for Linear {
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

impl CustomOp2 for Linear {
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
