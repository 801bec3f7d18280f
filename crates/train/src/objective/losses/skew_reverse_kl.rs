//! `skew_reverse_kl`: KL(q ‖ m) = Σ q log(q/m) with m = λq + (1 − λ)p, and ∂/∂log q = q log(q/m) + λ q (1 − q/m).
//!
//! The skew reverse KL divergence of `DistiLLM` (arXiv 2402.03898). With λ = 0 it is `reverse_kl`.

use candle_core::{Result, Tensor};

use super::{Divergence, LossParameters, formula::Formula, reverse_kl::ReverseKl};
use crate::objective::{
    probability::{Probability, log_mixture, times_log_ratio},
    tensor_probabilities::{self, TensorProbabilities},
};

/// KL(q ‖ λq + (1 − λ)p).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct SkewReverseKl {
    /// λ, above 0 and below 1.
    pub(super) skew: f64,
}

pub(super) fn divergence(parameters: LossParameters) -> Divergence {
    match parameters.skew {
        0.0 => Divergence::ReverseKl(ReverseKl),
        skew => Divergence::SkewReverseKl(SkewReverseKl { skew }),
    }
}

impl Formula for SkewReverseKl {
    fn term(&self, p: Probability, q: Probability) -> (f64, f64) {
        let log_m = log_mixture(self.skew, q.log, p.log);
        let value = times_log_ratio(q.value, q.log, log_m);
        let through_m = if q.value > 0.0 {
            q.value * self.skew * (1.0 - (q.log - log_m).exp())
        } else {
            0.0
        };
        (value, value + through_m)
    }

    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        let log_ratio = (&q.log - tensor_probabilities::log_mixture(self.skew, &q.log, &p.log)?)?;
        let through_m = (log_ratio.exp()?.affine(-self.skew, self.skew)? * &q.value)?;
        let terms = (&q.value * log_ratio)?;
        Ok((terms.clone(), (terms + through_m)?))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Loss, objective::tests::by_hand};

    #[test]
    fn a_bucket_worked_out_by_hand_has_the_right_value_and_gradient() {
        // With a = ln 4/3 and b = ln 2/3: g = (a/2 − 1/12, 0, b/4 + 1/24).
        let (a, b) = by_hand::log_ratios();
        let slopes = [
            a / 4.0 - b / 8.0 - 6.0 / 96.0,
            -a / 8.0 - b / 16.0 + 1.0 / 96.0,
            -a / 8.0 + 3.0 * b / 16.0 + 5.0 / 96.0,
        ];
        by_hand::check_halves(Loss::SkewReverseKl, a / 2.0 + b / 4.0, slopes);
    }
}
