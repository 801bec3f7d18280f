//! What every loss has: its terms and their derivatives.

use candle_core::{Result, Tensor};

use super::super::{
    probability::Probability,
    tensor_probabilities::{OUT, TensorProbabilities},
};

/// The formula of a divergence D.
///
/// Derivatives are given up to a multiple of q that is the same for all outcomes of a row: Σ q = 1 takes it out of every
/// gradient. 0 · log 0 is 0.
pub(in super::super) trait Formula {
    /// What an outcome with the teacher's probability `p` and the student's `q` adds to D, and ∂D/∂log q.
    fn term(&self, p: Probability, q: Probability) -> (f64, f64);

    /// What each outcome adds to D, and ∂D/∂log q of each, both `[C, W + 1]`.
    fn terms(&self, p: &TensorProbabilities, q: &TensorProbabilities) -> Result<(Tensor, Tensor)>;

    /// log p of an outcome to which the teacher gives nothing, in tensors.
    fn log_of_nothing(&self) -> f64 {
        OUT
    }
}
