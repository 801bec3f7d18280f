//! `reverse_kl`: KL(q ‖ p) = Σ q log(q/p), with ∂/∂log q = q log(q/p).
//!
//! Used for distillation in `MiniLLM` (arXiv 2306.08543). An outcome to which the teacher gives nothing would make it
//! infinite; the teacher counts there as [`LOG_OF_NOTHING`].

use candle_core::{Result, Tensor};

use super::{Divergence, LossParameters, formula::Formula};
use crate::objective::{
    probability::{Probability, times_log_ratio},
    tensor_probabilities::TensorProbabilities,
};

/// log p of an outcome to which the teacher gives nothing: the floor of stored tails.
///
/// Only a student with more tokens than the teacher has such an outcome.
const LOG_OF_NOTHING: f64 = -30.0;

/// KL(q ‖ p).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct ReverseKl;

pub(super) fn divergence(_: LossParameters) -> Divergence {
    Divergence::ReverseKl(ReverseKl)
}

impl Formula for ReverseKl {
    fn term(&self, p: Probability, q: Probability) -> (f64, f64) {
        let log_p = if p.log == f64::NEG_INFINITY {
            LOG_OF_NOTHING
        } else {
            p.log
        };
        let value = times_log_ratio(q.value, q.log, log_p);
        (value, value)
    }

    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        let terms = (&q.value * (&q.log - &p.log)?)?;
        Ok((terms.clone(), terms))
    }

    fn log_of_nothing(&self) -> f64 {
        LOG_OF_NOTHING
    }
}

#[cfg(test)]
mod tests {
    use crate::{Loss, objective::tests::by_hand};

    #[test]
    fn a_bucket_worked_out_by_hand_has_the_right_value_and_gradient() {
        // g = (½ ln 2, 0, −¼ ln 2), Σ g = ¼ ln 2.
        let slopes = [6.0, -1.0, -5.0].map(|x| x / 16.0 * by_hand::LN2);
        by_hand::check_halves(Loss::ReverseKl, 0.25 * by_hand::LN2, slopes);
    }
}
