//! `jensen_shannon`: β·KL(p ‖ m) + (1 − β)·KL(q ‖ m) with m = βp + (1 − β)q, and ∂/∂log q = (1 − β) q log(q/m).
//!
//! The generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649, equation 2).

use candle_core::{Result, Tensor};

use super::{Divergence, LossParameters, formula::Formula};
use crate::objective::{
    probability::{Probability, log_mixture, times_log_ratio},
    tensor_probabilities::{self, TensorProbabilities},
};

/// β·KL(p ‖ m) + (1 − β)·KL(q ‖ m).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct JensenShannon {
    /// β, above 0 and below 1.
    pub(super) beta: f64,
}

pub(super) fn divergence(parameters: LossParameters) -> Divergence {
    Divergence::JensenShannon(JensenShannon {
        beta: parameters.jensen_shannon_beta,
    })
}

impl Formula for JensenShannon {
    fn term(&self, p: Probability, q: Probability) -> (f64, f64) {
        let log_m = log_mixture(self.beta, p.log, q.log);
        let student = (1.0 - self.beta) * times_log_ratio(q.value, q.log, log_m);
        let teacher = self.beta * times_log_ratio(p.value, p.log, log_m);
        (teacher + student, student)
    }

    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        let log_m = tensor_probabilities::log_mixture(self.beta, &p.log, &q.log)?;
        let student = ((&q.value * (&q.log - &log_m)?)? * (1.0 - self.beta))?;
        let teacher = ((&p.value * (&p.log - &log_m)?)? * self.beta)?;
        Ok(((teacher + &student)?, student))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Loss, objective::tests::by_hand};

    #[test]
    fn a_bucket_worked_out_by_hand_has_the_right_value_and_gradient() {
        // With a = ln 4/3 and b = ln 2/3: g = (a/4, 0, b/8).
        let (a, b) = by_hand::log_ratios();
        let slopes = [a / 8.0 - b / 16.0, -a / 16.0 - b / 32.0, 3.0 * b / 32.0 - a / 16.0];
        by_hand::check_halves(Loss::JensenShannon, b / 4.0 + a / 2.0, slopes);
    }
}
