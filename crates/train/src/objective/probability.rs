//! Probabilities with their logarithms, and the sums and mixtures of them that teacher and losses need.

/// A probability and its logarithm, each as exact as it can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Probability {
    /// From 0 to 1.
    pub(super) value: f64,
    /// −∞ if the value is 0. Finite if the value is only too small for its type.
    pub(super) log: f64,
}

impl Probability {
    pub(super) fn of_log(log: f64) -> Self {
        Self { value: log.exp(), log }
    }
}

/// x · (log a − log b), and 0 if x is 0, whatever the logarithms are.
pub(super) fn times_log_ratio(x: f64, log_a: f64, log_b: f64) -> f64 {
    if x > 0.0 { x * (log_a - log_b) } else { 0.0 }
}

/// log(w·eᵃ + (1 − w)·eᵇ); −∞ if both a and b are.
pub(super) fn log_mixture(weight: f64, a: f64, b: f64) -> f64 {
    log_add(weight.ln() + a, (1.0 - weight).ln() + b)
}

/// log(eᵃ + eᵇ); −∞ if both a and b are.
pub(super) fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}
