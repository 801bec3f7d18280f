//! Matrix products with a weight: dense, or quantised as a GGUF file has it.

use candle_core::Module as _;
use candle_core::{DType, Result, Tensor, quantized::QMatMul};

/// y = x · weightᵀ + bias.
#[derive(Clone, Debug)]
pub(crate) enum Projection {
    Dense {
        /// [out, in]
        weight: Tensor,
        /// [out]
        bias: Option<Tensor>,
    },
    Quantised {
        weight: QMatMul,
        bias: Option<Tensor>,
    },
}

impl Projection {
    /// `x` [.., in] to [.., out].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (product, bias) = match self {
            Self::Dense { weight, bias } => {
                let (out, width) = weight.dims2()?;
                let mut dims = x.dims().to_vec();
                let rows = x.elem_count() / width;
                let product = x.reshape((rows, width))?.matmul(&weight.t()?)?;
                *dims.last_mut().expect("a product has at least one dimension") = out;
                (product.reshape(dims)?, bias)
            }
            Self::Quantised { weight, bias } => (weight.forward(x)?, bias),
        };
        match bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }

    /// `rows` [N, in] to single-precision scores [N, out].
    pub(crate) fn scores(&self, rows: &Tensor) -> Result<Tensor> {
        self.forward(rows)?.to_dtype(DType::F32)
    }
}
