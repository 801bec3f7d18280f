//! Several linear operations on one input as one operation on a GPU: their results are columns of one matrix.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{
    linear::{add_bias_gradient, add_factors, put_bias},
    memory::{Rows, uninitialised_storage, uninitialised_tensor, with_rows},
    product::{Factor, product},
};
use crate::weight::Weight;

/// The operation: `[N, in]` to `[N, sum of out]`, with weights `[out, in]` and biases `[out]`.
pub(crate) struct Several {
    parts: Vec<(Weight, Option<Weight>)>,
}

impl Several {
    pub(crate) fn new(parts: &[(&Weight, Option<&Weight>)]) -> Self {
        Self {
            parts: parts
                .iter()
                .map(|(weight, bias)| ((*weight).clone(), bias.cloned()))
                .collect(),
        }
    }

    /// The columns of each part, with its weight and bias.
    fn columns(&self) -> Result<Vec<(usize, usize, &Weight, Option<&Weight>)>> {
        let mut first = 0;
        let mut columns = Vec::with_capacity(self.parts.len());
        for (weight, bias) in &self.parts {
            let out = weight.tensor().dim(0)?;
            columns.push((first, out, weight, bias.as_ref()));
            first += out;
        }
        Ok(columns)
    }
}

impl CustomOp1 for Several {
    fn name(&self) -> &'static str {
        "leadspan-several-linear"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("the CUDA form of an operation got a tensor in host memory")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = &storage.device;
        let x = Rows::of(storage, layout)?;
        let columns = self.columns()?;
        let width = columns.iter().map(|(_, out, ..)| out).sum();
        let y = uninitialised_storage(device, x.dtype, x.rows * width)?;
        let all = Rows::of(&y, &Layout::contiguous((x.rows, width)))?;
        for (first, out, weight, bias) in columns {
            let target = all.columns(first, out);
            let kept = match bias {
                Some(bias) => put_bias(device, bias, 0.0, target)?,
                None => 0.0,
            };
            with_rows(weight.tensor(), |_, weight| {
                product(device, Factor::Plain(x), Factor::Transposed(weight), kept, target)
            })?;
        }
        Ok((y, Shape::from((x.rows, width))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        with_rows(x, |device, x| {
            let x_gradient = uninitialised_tensor(device, x.dtype, x.rows, x.width)?;
            with_rows(gradient, |_, gradient| {
                with_rows(&x_gradient, |_, into| {
                    for (index, (first, out, weight, bias)) in self.columns()?.into_iter().enumerate() {
                        let gradient = gradient.columns(first, out);
                        if let Some(sum) = weight.gradient() {
                            add_factors(sum, Factor::Transposed(gradient), Factor::Plain(x))?;
                        }
                        if let Some(bias) = bias {
                            add_bias_gradient(device, bias, gradient)?;
                        }
                        let kept = if index == 0 { 0.0 } else { 1.0 };
                        with_rows(weight.tensor(), |_, weight| {
                            product(device, Factor::Plain(gradient), Factor::Plain(weight), kept, into)
                        })?;
                    }
                    Ok(())
                })
            })?;
            Ok(Some(x_gradient))
        })
    }
}
