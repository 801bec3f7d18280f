//! Linear operations in stock operations.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, backend::BackendStorage, bail,
};

use crate::weight::Weight;

pub(crate) fn linear(x: &Tensor, weight: &Weight, bias: Option<&Weight>, residual: Option<&Tensor>) -> Result<Tensor> {
    let transposed = weight.tensor().t()?;
    let mut y = if x.track_op() && weight.gradient().is_none() {
        x.apply_op2(&transposed, ConstantFactor)?
    } else {
        x.matmul(&transposed)?
    };
    if let Some(bias) = bias {
        // In single precision, so that the bias's gradient, a sum over all rows, is summed in single precision as well.
        let (wide, bias) = (y.to_dtype(DType::F32)?, bias.tensor().to_dtype(DType::F32)?);
        y = wide.broadcast_add(&bias)?.to_dtype(y.dtype())?;
    }
    match residual {
        Some(residual) => residual + y,
        None => Ok(y),
    }
}

pub(crate) fn project(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.detach().matmul(&weight.detach().t()?)
}

pub(crate) fn project_back(gradient: &Tensor, weight: &Tensor) -> Result<Tensor> {
    gradient.detach().matmul(&weight.detach())
}

/// `x` `[N, in]` times a constant matrix `[in, out]`. The library's own product also computes the gradient of its second factor,
/// which is as much work as that of the first and which nobody needs.
struct ConstantFactor;

impl ConstantFactor {
    fn product<S: BackendStorage>((x, x_layout): (&S, &Layout), (w, w_layout): (&S, &Layout)) -> Result<(S, Shape)> {
        let ((rows, width), (depth, out)) = (x_layout.shape().dims2()?, w_layout.shape().dims2()?);
        if width != depth {
            bail!("rows of {width} values do not go through a weight of {depth} columns");
        }
        let y = x.matmul(w, (1, rows, out, width), x_layout, w_layout)?;
        Ok((y, Shape::from((rows, out))))
    }
}

impl CustomOp2 for ConstantFactor {
    fn name(&self) -> &'static str {
        "leadspan-constant-factor"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Self::product((s1, l1), (s2, l2))
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        Self::product((s1, l1), (s2, l2))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        factor: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.matmul(&factor.t()?)?), None))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use crate::{GradientSum, Kernels, Weight, linear, rms_norm};

    fn values(shape: (usize, usize)) -> Tensor {
        let numbers = (0..shape.0 * shape.1).map(|index| (index as f32 * 0.7).sin());
        Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
    }

    fn learning(tensor: &Tensor) -> Weight {
        let variable = Var::from_tensor(tensor).unwrap();
        Weight::learning(variable.as_tensor().clone(), GradientSum::new(tensor).unwrap())
    }

    #[test]
    fn a_constant_weight_changes_no_bit_of_the_gradient_of_its_input_and_gets_none() {
        let (matrix, norm) = (values((7, 12)), values((1, 12)).flatten_all().unwrap());
        for kernels in [Kernels::Fused, Kernels::Stock] {
            let of = |matrix: &Weight, norm: &Weight| {
                let x = Var::from_tensor(&values((9, 12))).unwrap();
                let normalised = rms_norm(x.as_tensor(), norm, 1e-5, kernels).unwrap();
                let y = linear(&normalised, matrix, None, None, kernels).unwrap();
                let store = (&y * values((9, 7))).unwrap().sum_all().unwrap().backward().unwrap();
                let gradient = store.get(x.as_tensor()).unwrap().to_vec2::<f32>().unwrap();
                (
                    y.to_vec2::<f32>().unwrap(),
                    gradient,
                    store.get(matrix.tensor()).is_some(),
                )
            };
            let (y, gradient, _) = of(&learning(&matrix), &learning(&norm));
            let constants = [&matrix, &norm].map(|tensor| Weight::constant_of(tensor.clone()));
            let found = of(&constants[0], &constants[1]);
            assert_eq!(found, (y, gradient, false), "{kernels:?}");
        }
    }
}
