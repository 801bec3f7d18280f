//! From the scores of a row's outcomes to a divergence and its gradient with respect to the scores.
//!
//! An outcome is an entry or the bucket of all other tokens. Its score is z_v / τ for an entry and lse_{u∉K} z_u / τ for
//! the bucket, so that the student's probabilities q_o are the softmax of the scores. With g_o = ∂D/∂log q_o, the
//! gradient with respect to the score of o is its *slope* g_o − q_o Σ g. A loss depends on the student through this alone.
//! How scores depend on logits is the same for every loss.

use super::{losses::formula::Formula, probability::Probability};

/// The softmax of `scores` into `probabilities`, and their log-sum-exp. Scores may be −∞.
pub(super) fn softmax(scores: &[f64], probabilities: &mut Vec<Probability>) -> f64 {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    probabilities.clear();
    if max == f64::NEG_INFINITY {
        let log = f64::NEG_INFINITY;
        probabilities.extend(scores.iter().map(|_| Probability { value: 0.0, log }));
        return log;
    }
    probabilities.extend(scores.iter().map(|score| Probability {
        value: (score - max).exp(),
        log: 0.0,
    }));
    let sum: f64 = probabilities.iter().map(|term| term.value).sum();
    let log_sum_exp = max + sum.ln();
    for (probability, score) in probabilities.iter_mut().zip(scores) {
        probability.value /= sum;
        probability.log = score - log_sum_exp;
    }
    log_sum_exp
}

/// The divergence of `student` from `teacher`, and its gradient with respect to the student's scores in `slopes`.
///
/// `beside` is Σ g over what is learnt beside the outcomes, at single tokens inside the bucket.
pub(super) fn value_and_slopes(
    formula: &impl Formula,
    teacher: &[Probability],
    student: &[Probability],
    beside: f64,
    slopes: &mut Vec<f64>,
) -> f64 {
    let (mut value, mut sum) = (0.0, beside);
    slopes.clear();
    slopes.extend(teacher.iter().zip(student).map(|(&p, &q)| {
        let (part, derivative) = formula.term(p, q);
        value += part;
        sum += derivative;
        derivative
    }));
    for (slope, q) in slopes.iter_mut().zip(student) {
        *slope -= q.value * sum;
    }
    value
}
