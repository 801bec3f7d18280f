//! `total_variation`: ½ Σ |p − q|, with ∂/∂log q = ½ q sign(q − p).
//!
//! Used for distillation in f-distill (arXiv 2307.15190). Its derivative jumps where p = q; it is 0 there.

use candle_core::{Result, Tensor};

use super::{Divergence, LossParameters, formula::Formula};
use crate::objective::{probability::Probability, tensor_probabilities::TensorProbabilities};

/// ½ Σ |p − q|.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct TotalVariation;

pub(super) fn divergence(_: LossParameters) -> Divergence {
    Divergence::TotalVariation(TotalVariation)
}

impl Formula for TotalVariation {
    fn term(&self, p: Probability, q: Probability) -> (f64, f64) {
        let difference = q.value - p.value;
        let sign = if difference == 0.0 { 0.0 } else { difference.signum() };
        (0.5 * difference.abs(), 0.5 * sign * q.value)
    }

    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        let difference = (&q.value - &p.value)?;
        let derivative = ((difference.sign()? * &q.value)? * 0.5)?;
        Ok(((difference.abs()? * 0.5)?, derivative))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Loss, TailPolicy,
        objective::tests::{by_hand, distillation, stored},
    };

    #[test]
    fn a_bucket_worked_out_by_hand_has_the_right_value_and_gradient() {
        // The derivative jumps where p = q, so p is (1/8, 3/8, 1/2) here: g = (1/4, −1/8, −1/8), Σ g = 0.
        by_hand::check(
            distillation(Loss::TotalVariation, TailPolicy::Bucket, 1.0),
            &stored(&[(1, 0.375), (0, 0.125)], 0.5),
            0.375,
            [0.25, -0.125, -0.0625, -0.0625],
        );
    }
}
