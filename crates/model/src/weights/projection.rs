//! Matrix products with a weight: dense, or quantised as a GGUF file stores it.

use candle_core::{DType, Module as _, Result, Tensor, cuda, quantized::QMatMul};
use leadspan_kernels::{Pass, Weight, linear, project, project_widened};

use super::low_rank::LowRank;

/// How many elements of a weight are converted to single precision at a time: 128 MiB.
const WIDENED_ELEMENTS: usize = 1 << 25;

/// y = x · weightᵀ + bias.
#[derive(Clone, Debug)]
pub(crate) enum Projection {
    /// In a floating-point format.
    Dense {
        /// `[out, in]`
        weight: Weight,
        /// `[out]`
        bias: Option<Weight>,
    },
    /// Constant, in a floating-point format, with what a low-rank adapter adds.
    Adapted {
        /// `[out, in]`
        weight: Weight,
        /// `[out]`
        bias: Option<Weight>,
        /// What is added.
        added: Box<LowRank>,
    },
    /// In blocks of quantised numbers.
    Quantised {
        /// `[out, in]`
        weight: QMatMul,
        /// `[out]`
        bias: Option<Weight>,
    },
}

impl Projection {
    /// `x` `[N, in]` to `[N, out]`, plus `residual` `[N, out]` if it is given.
    pub(crate) fn forward<'a>(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        pass: impl Into<Pass<'a>>,
    ) -> Result<Tensor> {
        match self {
            Self::Dense { weight, bias } => linear(x, weight, bias.as_ref(), residual, pass),
            Self::Adapted { weight, bias, added } => added.forward(x, (weight, bias.as_ref()), residual, pass.into()),
            Self::Quantised { weight, bias } => {
                let mut y = weight.forward(x)?;
                if let Some(bias) = bias {
                    y = y.broadcast_add(bias.tensor())?;
                }
                residual.map_or(Ok(y.clone()), |residual| residual + &y)
            }
        }
    }

    /// `rows` `[N, in]` to single-precision scores `[N, out]`.
    ///
    /// A logit of 30 rounded to bfloat16 is off by up to 0.06, so products of a narrower dtype are summed and kept in single
    /// precision where the device has such a product. Elsewhere weights are converted to single precision, block by block. Numbers from a narrower dtype have no more digits than NVIDIA's `TensorFloat-32`
    /// keeps, so GPUs may use that format: it loses nothing and is many times as fast.
    pub(crate) fn scores<'a>(&self, rows: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
        let Self::Dense { weight, bias } = self else {
            return self.forward(rows, None, pass)?.to_dtype(DType::F32);
        };
        let pass = pass.into();
        if rows.dtype() == DType::F32 {
            return self.forward(rows, None, pass);
        }
        if let Some(scores) = project_widened(rows, &weight.constant(), pass)? {
            return match bias {
                Some(bias) => scores.broadcast_add(&bias.constant().to_dtype(DType::F32)?),
                None => Ok(scores),
            };
        }
        let _allowed = TensorFloat32::allow();
        let (rows, weight) = (rows.to_dtype(DType::F32)?, weight.constant());
        let (out, width) = weight.dims2()?;
        let at_once = (WIDENED_ELEMENTS / width.max(1)).max(1);
        let blocks: Vec<Tensor> = (0..out)
            .step_by(at_once)
            .map(|first| {
                let block = weight.narrow(0, first, at_once.min(out - first))?;
                project(&rows, &block.to_dtype(DType::F32)?)
            })
            .collect::<Result<_>>()?;
        let scores = Tensor::cat(&blocks, 1)?;
        match bias {
            Some(bias) => scores.broadcast_add(&bias.constant().to_dtype(DType::F32)?),
            None => Ok(scores),
        }
    }

    /// Its weight and bias; `None` if it is quantised or has an adapter.
    pub(crate) fn dense(&self) -> Option<(&Weight, Option<&Weight>)> {
        match self {
            Self::Dense { weight, bias } => Some((weight, bias.as_ref())),
            Self::Adapted { .. } | Self::Quantised { .. } => None,
        }
    }

    /// Its dense parameters.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let (weight, bias, added) = match self {
            Self::Dense { weight, bias } => (Some(weight), bias, None),
            Self::Adapted { weight, bias, added } => (Some(weight), bias, Some(added)),
            Self::Quantised { bias, .. } => (None, bias, None),
        };
        let added = added.into_iter().flat_map(|added| [&added.narrow, &added.widen]);
        weight.into_iter().chain(bias).chain(added)
    }
}

/// While this value lives, CUDA's single-precision products may round their factors to `TensorFloat-32` (8 bits of
/// exponent, 10 of mantissa). Sums stay in single precision.
struct TensorFloat32 {
    before: bool,
}

impl TensorFloat32 {
    fn allow() -> Self {
        let before = cuda::gemm_reduced_precision_f32();
        cuda::set_gemm_reduced_precision_f32(true);
        Self { before }
    }
}

impl Drop for TensorFloat32 {
    fn drop(&mut self) {
        cuda::set_gemm_reduced_precision_f32(self.before);
    }
}
