//! What a value in the files of a run can be, whatever the others are.

use super::HeldOut;

/// Rounding may make a loss that cannot be negative this much smaller than zero, in nats.
const ROUNDING: f64 = 1e-3;
/// The 97.5th percentile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Refuses a smaller amount than `least`.
pub(super) fn at_least(least: f64, name: &str, value: Option<f64>) -> Result<(), String> {
    match value {
        Some(value) if value < least => Err(format!("says that `{name}` is {value}")),
        _ => Ok(()),
    }
}

/// Refuses losses below zero, and a share that is none.
pub(super) fn of_losses(losses: &HeldOut) -> Result<(), String> {
    for (name, loss) in [
        ("cross_entropy", losses.cross_entropy),
        ("forward_kl", losses.forward_kl),
    ] {
        at_least(-ROUNDING, name, loss)?;
    }
    match losses.top_1_agreement {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(format!("says that `top_1_agreement` is {share}")),
        _ => Ok(()),
    }
}

/// Whether `interval` is the Wilson score interval with 95 % confidence of the share a of n trials. Its ends p are the
/// solutions of (a − p)² = z² · p(1 − p)/n (Wilson 1927); without trials it is all of 0 to 1.
pub(super) fn is_interval((low, high): (f64, f64), share: f64, trials: u64) -> bool {
    let solves = |end: f64| ((share - end).powi(2) - Z * Z * end * (1.0 - end) / trials as f64).abs() < 1e-12;
    match trials {
        0 => (low, high) == (0.0, 1.0),
        _ => 0.0 <= low && low <= share && share <= high && high <= 1.0 && low < high && solves(low) && solves(high),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_wilsons_or_none() {
        // 5 of 10, 0 of 10 and 10 of 10, worked out by hand: ½ ± z/2 · √(1/(10 + z²)), and z²/(10 + z²).
        let square = Z * Z;
        let half = Z / 2.0 / (10.0 + square).sqrt();
        let edge = square / (10.0 + square);
        for (interval, share, trials, expected) in [
            ((0.5 - half, 0.5 + half), 0.5, 10, true),
            ((0.0, edge), 0.0, 10, true),
            ((1.0 - edge, 1.0), 1.0, 10, true),
            ((0.0, 1.0), 0.0, 0, true),
            ((0.5 - half, 0.5 + half), 0.5, 11, false),
            ((0.5 - half, 0.9), 0.5, 10, false),
            ((0.5, 0.5 + half), 0.5, 10, false),
            ((0.0, 0.0), 0.0, 10, false),
            ((-1.0, 2.0), 0.5, 10, false),
            ((0.1, 0.9), 0.0, 0, false),
        ] {
            assert_eq!(is_interval(interval, share, trials), expected, "{interval:?}");
        }
    }
}
