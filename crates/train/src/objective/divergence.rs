//! The divergences: what each outcome adds to the value, and to the derivative with respect to the student's log q.
//!
//! All of them are sums over outcomes, so that an outcome's teacher and student probabilities decide its part alone.

/// log p of an outcome to which the teacher gives nothing, where its logarithm is needed: the floor of stored tails.
///
/// Only a student with more tokens than the teacher has such an outcome, and reverse KL would be infinite there.
pub(super) const LOG_OF_NOTHING: f64 = -30.0;

/// A probability and its logarithm, each as exact as it can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Probability {
    /// From 0 to 1.
    pub(super) value: f64,
    /// −∞ where the value is 0, and finite where it is only too small for its type.
    pub(super) log: f64,
}

impl Probability {
    pub(super) fn of_log(log: f64) -> Self {
        Self { value: log.exp(), log }
    }
}

/// How teacher p and student q are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Divergence {
    /// KL(p ‖ q).
    ForwardKl,
    /// −Σ p log q: forward KL without the teacher's entropy, which a drawn target does not know.
    SoftCrossEntropy,
    /// KL(q ‖ p).
    ReverseKl,
    /// β·KL(p ‖ m) + (1 − β)·KL(q ‖ m) with m = βp + (1 − β)q (arXiv 2306.13649, equation 2).
    JensenShannon {
        /// β, above 0 and below 1.
        beta: f64,
    },
    /// KL(p ‖ λp + (1 − λ)q) (arXiv 2402.03898, equation 4).
    SkewKl {
        /// λ, above 0 and below 1.
        skew: f64,
    },
    /// KL(q ‖ λq + (1 − λ)p).
    SkewReverseKl {
        /// λ, above 0 and below 1.
        skew: f64,
    },
    /// ½ Σ |p − q|.
    TotalVariation,
}

impl Divergence {
    /// What an outcome with teacher's probability `p` and student's `q` adds to the value D, and ∂D/∂log q.
    ///
    /// The derivative is given up to a multiple of q that is the same for all outcomes: Σ q = 1 takes it out of every
    /// gradient. 0 · log 0 is 0.
    pub(super) fn term(self, p: Probability, q: Probability) -> (f64, f64) {
        // x · (a − b) with nothing where x is nothing, whatever the logarithms are.
        let times = |x: f64, a: f64, b: f64| if x > 0.0 { x * (a - b) } else { 0.0 };
        match self {
            Self::ForwardKl => (times(p.value, p.log, q.log), -p.value),
            Self::SoftCrossEntropy => (times(p.value, 0.0, q.log), -p.value),
            Self::ReverseKl => {
                let log_p = if p.log == f64::NEG_INFINITY {
                    LOG_OF_NOTHING
                } else {
                    p.log
                };
                let value = times(q.value, q.log, log_p);
                (value, value)
            }
            Self::JensenShannon { beta } => {
                let log_m = log_mixture(beta, p.log, q.log);
                let student = (1.0 - beta) * times(q.value, q.log, log_m);
                (beta * times(p.value, p.log, log_m) + student, student)
            }
            Self::SkewKl { skew } => {
                let log_m = log_mixture(skew, p.log, q.log);
                let derivative = -(1.0 - skew)
                    * if p.value > 0.0 {
                        p.value * (q.log - log_m).exp()
                    } else {
                        0.0
                    };
                (times(p.value, p.log, log_m), derivative)
            }
            Self::SkewReverseKl { skew } => {
                let log_m = log_mixture(skew, q.log, p.log);
                let value = times(q.value, q.log, log_m);
                let through_m = if q.value > 0.0 {
                    q.value * skew * (1.0 - (q.log - log_m).exp())
                } else {
                    0.0
                };
                (value, value + through_m)
            }
            Self::TotalVariation => {
                let difference = q.value - p.value;
                let sign = if difference == 0.0 { 0.0 } else { difference.signum() };
                (0.5 * difference.abs(), 0.5 * sign * q.value)
            }
        }
    }
}

/// log(w·eᵃ + (1 − w)·eᵇ); −∞ where both are.
fn log_mixture(weight: f64, a: f64, b: f64) -> f64 {
    log_add(weight.ln() + a, (1.0 - weight).ln() + b)
}

/// log(eᵃ + eᵇ); −∞ where both are.
pub(super) fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Divergence; 7] = [
        Divergence::ForwardKl,
        Divergence::SoftCrossEntropy,
        Divergence::ReverseKl,
        Divergence::JensenShannon { beta: 0.3 },
        Divergence::SkewKl { skew: 0.1 },
        Divergence::SkewReverseKl { skew: 0.1 },
        Divergence::TotalVariation,
    ];

    #[test]
    fn every_part_is_finite_where_either_side_gives_nothing() {
        for divergence in ALL {
            for p in [f64::NEG_INFINITY, -2e4, -1.0, 0.0] {
                for q in [f64::NEG_INFINITY, -2e4, -1.0, 0.0] {
                    let (value, derivative) = divergence.term(Probability::of_log(p), Probability::of_log(q));
                    // Nothing of the student where the teacher has something is infinite by definition.
                    let infinite = p >= -1.0
                        && q == f64::NEG_INFINITY
                        && matches!(divergence, Divergence::ForwardKl | Divergence::SoftCrossEntropy);
                    assert!(
                        derivative.is_finite() && value.is_finite() != infinite,
                        "{divergence:?} {p} {q}: {value} {derivative}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_mixtures_are_the_two_directions_of_kl() {
        let (p, q) = (Probability::of_log(-0.7), Probability::of_log(-1.9));
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-5, "{a} {b}");
        let tiny = 1e-7;
        close(
            Divergence::SkewKl { skew: tiny }.term(p, q).0,
            Divergence::ForwardKl.term(p, q).0,
        );
        close(
            Divergence::SkewReverseKl { skew: tiny }.term(p, q).0,
            Divergence::ReverseKl.term(p, q).0,
        );
    }
}
