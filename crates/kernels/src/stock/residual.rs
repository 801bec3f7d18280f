//! Scaled sums in stock operations.

use candle_core::{Result, Tensor};

pub(crate) fn add_scaled(residual: &Tensor, x: &Tensor, scale: f64) -> Result<Tensor> {
    residual + (x * scale)?
}
