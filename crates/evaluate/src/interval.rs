//! The confidence interval of a proportion of successes.

/// The 97.5th percentile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The Wilson score interval with 95 % confidence for `successes` of `trials` (Wilson 1927); from 0 to 1 without trials.
pub fn wilson_interval(successes: u64, trials: u64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (trials as f64, successes as f64 / trials as f64);
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Despite rounding, the observed share must be inside.
    ((centre - half).clamp(0.0, share), (centre + half).clamp(share, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_agree_with_those_worked_out_by_hand() {
        // With z² = 3.841459, the upper end for 0 of 10 is z²/(10 + z²), and 5 of 10 gives ½ ± z/2 · √(1/(10 + z²)).
        // 81 of 263 is an example from the literature (Newcombe 1998, table I).
        for (successes, trials, low, high) in [
            (0, 10, 0.0, 0.277_533),
            (10, 10, 0.722_467, 1.0),
            (5, 10, 0.236_593, 0.763_407),
            (81, 263, 0.255_3, 0.366_2),
            (1, 1, 0.206_549, 1.0),
            (0, 0, 0.0, 1.0),
        ] {
            let (found_low, found_high) = wilson_interval(successes, trials);
            let close = |a: f64, b: f64| (a - b).abs() < 5e-5;
            assert!(
                close(found_low, low) && close(found_high, high),
                "{successes}/{trials}: {found_low} {found_high}"
            );
        }
    }
}
