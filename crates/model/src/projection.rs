//! Matrix products with a weight: dense, or quantised as a GGUF file has it.

use candle_core::{DType, Module as _, Result, Tensor, quantized::QMatMul};

use crate::{
    kernels::{Pass, linear},
    weight::Weight,
};

/// y = x · weightᵀ + bias.
#[derive(Clone, Debug)]
pub(crate) enum Projection {
    Dense {
        /// [out, in]
        weight: Weight,
        /// [out]
        bias: Option<Weight>,
    },
    Quantised {
        weight: QMatMul,
        bias: Option<Weight>,
    },
}

impl Projection {
    /// `x` `[N, in]` to `[N, out]`, plus `residual` where there is one.
    pub(crate) fn forward<'a>(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        pass: impl Into<Pass<'a>>,
    ) -> Result<Tensor> {
        match self {
            Self::Dense { weight, bias } => linear(x, weight, bias.as_ref(), residual, pass),
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
    pub(crate) fn scores<'a>(&self, rows: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
        self.forward(rows, None, pass)?.to_dtype(DType::F32)
    }

    /// Its dense parameters.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let (weight, bias) = match self {
            Self::Dense { weight, bias } => (Some(weight), bias.as_ref()),
            Self::Quantised { bias, .. } => (None, bias.as_ref()),
        };
        weight.into_iter().chain(bias)
    }
}
