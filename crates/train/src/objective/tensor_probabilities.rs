//! Probabilities of the outcomes of several rows as tensors, for the losses in stock operations.

use candle_core::{Result, Tensor};

/// Stands for −∞ in products in which 0 · −∞ must be 0. Its exponential is 0.
pub(super) const OUT: f64 = -1e30;

/// Probabilities of outcomes in double precision, `[C, W + 1]`: W entries and the bucket.
pub(super) struct TensorProbabilities {
    pub(super) value: Tensor,
    /// [`OUT`], or another finite number, if the value is 0.
    pub(super) log: Tensor,
}

/// log(w·eᵃ + (1 − w)·eᵇ) of each outcome.
pub(super) fn log_mixture(weight: f64, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = ((a + weight.ln())?, (b + (1.0 - weight).ln())?);
    let max = a.maximum(&b)?;
    let sum = ((a - &max)?.exp()? + (b - &max)?.exp()?)?;
    sum.log()? + max
}
