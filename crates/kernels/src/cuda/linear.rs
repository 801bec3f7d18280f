//! The linear operation on a GPU, forward and backward: products by cuBLAS.
//!
//! A product adds to what is there, so a bias is there first, as a product of a column of ones with it, or the residual
//! stream is.

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail,
};

use super::{
    memory::{Rows, uninitialised_storage, uninitialised_tensor, with_rows},
    product::{Factor, product},
};
use crate::weight::{GradientSum, Weight};

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

    fn forward(&self, x: Rows, residual: Option<(&CudaStorage, &Layout)>, device: &CudaDevice) -> Result<CudaStorage> {
        let out = self.weight.tensor().dim(0)?;
        let y = match residual {
            Some((residual, layout)) => copied(residual, layout)?,
            None => uninitialised_storage(device, x.dtype, x.rows * out)?,
        };
        let target = Rows::of(&y, &Layout::contiguous((x.rows, out)))?;
        let mut kept = if residual.is_some() { 1.0 } else { 0.0 };
        if let Some(bias) = &self.bias {
            kept = put_bias(device, bias, kept, target)?;
        }
        with_rows(self.weight.tensor(), |device, weight| {
            product(device, Factor::Plain(x), Factor::Transposed(weight), kept, target)
        })?;
        Ok(y)
    }

    /// Adds to the gradients of weight and bias, and returns the gradient of `x`.
    fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        if let Some(sum) = self.weight.gradient() {
            sum.add_product(gradient, x)?;
        }
        if let Some(bias) = &self.bias {
            with_rows(gradient, |device, gradient| add_bias_gradient(device, bias, gradient))?;
        }
        project_back(gradient, &self.weight.constant())
    }
}

/// `target` ← `kept` · `target` plus the bias in every row. Returns 1, what the next product keeps of it.
pub(super) fn put_bias(device: &CudaDevice, bias: &Weight, kept: f32, target: Rows) -> Result<f32> {
    with_ones(device, target.dtype, target.rows, |ones| {
        with_rows(bias.tensor(), |_, bias| {
            product(device, Factor::Transposed(ones), Factor::Plain(bias), kept, target)
        })
    })?;
    Ok(1.0)
}

/// Adds the sum of the rows of `gradient` to that of a bias.
pub(super) fn add_bias_gradient(device: &CudaDevice, bias: &Weight, gradient: Rows) -> Result<()> {
    let Some(sum) = bias.gradient() else {
        return Ok(());
    };
    with_ones(device, gradient.dtype, gradient.rows, |ones| {
        add_factors(sum, Factor::Plain(ones), Factor::Plain(gradient))
    })
}

/// A copy of a storage's matrix.
fn copied(storage: &CudaStorage, layout: &Layout) -> Result<CudaStorage> {
    use candle_core::backend::BackendStorage as _;
    let (device, count) = (&storage.device, layout.shape().elem_count());
    let mut copy = uninitialised_storage(device, storage.dtype(), count)?;
    storage.copy_strided_src(&mut copy, 0, layout)?;
    Ok(copy)
}

/// Calls `read` with a row of ones.
fn with_ones<T>(device: &CudaDevice, dtype: DType, count: usize, read: impl FnOnce(Rows) -> Result<T>) -> Result<T> {
    let ones = Tensor::ones((1, count), dtype, &candle_core::Device::Cuda(device.clone()))?;
    with_rows(&ones, |_, ones| read(ones))
}

/// Adds `left` · `right` to a sum of gradients.
pub(super) fn add_factors(sum: &GradientSum, left: Factor, right: Factor) -> Result<()> {
    sum.accumulate_on_device(|sum, kept| with_rows(sum, |device, sum| product(device, left, right, kept, sum)))
}

/// `x` `[N, in]` times the transpose of `weight` `[out, in]`, in single precision whatever the factors are.
pub(crate) fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    with_rows(x, |device, x| {
        with_rows(weight, |_, weight| {
            let y = uninitialised_tensor(device, DType::F32, x.rows, weight.rows)?;
            with_rows(&y, |device, y| {
                product(device, Factor::Plain(x), Factor::Transposed(weight), 0.0, y)
            })?;
            Ok(y)
        })
    })
}

/// `gradient` `[N, out]` times `weight` `[out, in]`, in the dtype of `gradient`.
pub(crate) fn project_back(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    with_rows(gradient, |device, gradient| {
        with_rows(weight, |_, weight| {
            let x = uninitialised_tensor(device, gradient.dtype, gradient.rows, weight.width)?;
            with_rows(&x, |device, x| {
                product(device, Factor::Plain(gradient), Factor::Plain(weight), 0.0, x)
            })?;
            Ok(x)
        })
    })
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "leadspan-linear"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("the CUDA form of an operation got a tensor in host memory")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = Rows::of(storage, layout)?;
        let y = self.forward(x, None, &storage.device)?;
        Ok((y, Shape::from((x.rows, self.weight.tensor().dim(0)?))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.backward(x, gradient).map(Some)
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "leadspan-linear-residual"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("the CUDA form of an operation got a tensor in host memory")
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = Rows::of(s1, l1)?;
        let y = self.forward(x, Some((s2, l2)), &s1.device)?;
        Ok((y, l2.shape().clone()))
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
