//! `forward_kl`: KL(p ‖ q) = Σ p log(p/q), with ∂/∂log q = −p.
//!
//! The loss of knowledge distillation (arXiv 1503.02531, up to the teacher's entropy). With a bucket it is a lower bound on
//! the divergence over the whole vocabulary, and 0 at the optimum.

use candle_core::{Result, Tensor};

use super::{Divergence, LossParameters, formula::Formula};
use crate::objective::{
    probability::{Probability, times_log_ratio},
    tensor_probabilities::TensorProbabilities,
};

/// KL(p ‖ q).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct ForwardKl;

pub(super) fn divergence(_: LossParameters) -> Divergence {
    Divergence::FORWARD_KL
}

impl Formula for ForwardKl {
    fn term(&self, p: Probability, q: Probability) -> (f64, f64) {
        (times_log_ratio(p.value, p.log, q.log), -p.value)
    }

    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        Ok(((&p.value * (&p.log - &q.log)?)?, p.value.neg()?))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Loss, objective::tests::by_hand};

    #[test]
    fn a_bucket_worked_out_by_hand_has_the_right_value_and_gradient() {
        // The slopes are q − p.
        by_hand::check_halves(Loss::ForwardKl, 0.25 * by_hand::LN2, [0.25, 0.0, -0.25]);
    }
}
