//! Soft cross-entropy: −Σ p log q, with ∂/∂log q = −p.
//!
//! It is forward KL without the teacher's entropy, which a drawn target does not know (after arXiv 2503.16870). The tail
//! policy `sampled` minimises it; it is no value of `train.loss`.

use candle_core::{Result, Tensor};

use super::formula::Formula;
use crate::objective::{
    probability::{Probability, times_log_ratio},
    tensor_probabilities::TensorProbabilities,
};

/// −Σ p log q.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct SoftCrossEntropy;

impl Formula for SoftCrossEntropy {
    fn term(&self, p: Probability, q: Probability) -> (f64, f64) {
        (times_log_ratio(p.value, 0.0, q.log), -p.value)
    }

    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)> {
        Ok(((&p.value * &q.log)?.neg()?, p.value.neg()?))
    }
}
