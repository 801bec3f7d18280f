//! The gated nonlinearity in stock operations.

use candle_core::{Result, Tensor};

pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}
