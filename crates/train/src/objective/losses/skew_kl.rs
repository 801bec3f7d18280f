//! `skew_kl`: KL(p ‖ m) = Σ p log(p/m) with m = λp + (1 − λ)q, and ∂/∂log q = −(1 − λ) p q/m.
//!
//! The skew KL divergence of `DistiLLM` (arXiv 2402.03898, equation 4). With λ = 0 it is `forward_kl`.

use candle_core::{Result, Tensor};

use super::{Divergence, LossParameters, formula::Formula};
use crate::objective::{
    probability::{Probability, log_mixture, times_log_ratio},
    tensor_probabilities::{self, TensorProbabilities},
};

/// KL(p ‖ λp + (1 − λ)q).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct SkewKl {
    /// λ, above 0 and below 1.
    pub(super) skew: f64,
}

pub(super) fn divergence(parameters: LossParameters) -> Divergence {
    match parameters.skew {
        0.0 => Divergence::FORWARD_KL,
        skew => Divergence::SkewKl(SkewKl { skew }),
    }
}

impl Formula for SkewKl {
    fn term(&self, p: Probability, q: Probability) -> (f64, f64) {
        let log_m = log_mixture(self.skew, p.log, q.log);
        let p_q_over_m = if p.value > 0.0 {
            p.value * (q.log - log_m).exp()
        } else {
            0.0
        };
        (times_log_ratio(p.value, p.log, log_m), -(1.0 - self.skew) * p_q_over_m)
    }

    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        let log_m = tensor_probabilities::log_mixture(self.skew, &p.log, &q.log)?;
        let q_over_m = (&q.log - &log_m)?.exp()?;
        let terms = (&p.value * (&p.log - &log_m)?)?;
        Ok((terms, ((&p.value * q_over_m)? * (self.skew - 1.0))?))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Loss, objective::tests::by_hand};

    #[test]
    fn a_bucket_worked_out_by_hand_has_the_right_value_and_gradient() {
        // g = (−1/6, −1/8, −1/6).
        let (a, b) = by_hand::log_ratios();
        by_hand::check_halves(Loss::SkewKl, b / 4.0 + a / 2.0, [6.0, -1.0, -5.0].map(|x| x / 96.0));
    }
}
