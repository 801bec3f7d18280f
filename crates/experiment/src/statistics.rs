//! Means over seeds, with confidence intervals that hold only what is possible.

use serde::Serialize;

/// A mean with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The ends of the interval; `None` for fewer than two values.
    pub interval: Option<(f64, f64)>,
    /// The number of values.
    pub values: usize,
}

impl Estimate {
    /// The mean m of `values` and the interval m ± t · s/√n, where s is the sample standard deviation (divided by n − 1) and t the
    /// 97.5th percentile of Student's distribution with n − 1 degrees of freedom; `None` without values.
    ///
    /// If no value is negative, the interval ends at 0, because these are times, losses or ratios.
    ///
    /// ```
    /// let estimate = leadspan_experiment::Estimate::of(&[1.0, 2.0, 3.0]).ok_or("no values")?;
    /// assert_eq!((estimate.mean, estimate.values), (2.0, 3));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        let is_negative = values.iter().any(|&value| value < 0.0);
        Self::from_least(values, if is_negative { f64::NEG_INFINITY } else { 0.0 })
    }

    /// The same for differences, whose interval goes below 0 even if none of them is negative.
    pub fn of_differences(values: &[f64]) -> Option<Self> {
        Self::from_least(values, f64::NEG_INFINITY)
    }

    /// The interval does not go below `least`.
    fn from_least(values: &[f64], least: f64) -> Option<Self> {
        let (mean, squared_error) = mean_and_squared_error(values)?;
        let interval = (values.len() > 1).then(|| {
            let half = student_t(values.len() - 1) * squared_error.sqrt();
            ((mean - half).max(least), mean + half)
        });
        Some(Self {
            mean,
            interval,
            values: values.len(),
        })
    }

    /// The mean m of the shares `a / N` of `counts`, pairs of a right answers and N problems, one pair for each of n runs, with an
    /// interval that never leaves 0 to 1; `None` without counts, or if a run has no problem.
    ///
    /// It is Wilson's score interval (1927) of m with an effective number of trials e, as for samples in clusters (Korn and
    /// Graubard, Survey Methodology 24, 1998): (m + t²/2e ± t · √(m(1 − m)/e + t²/4e²)) / (1 + t²/e). t is that of [`of`](Self::of).
    /// The variance of the mean is the larger of s²/n, which is that between the runs, and m(1 − m)/ΣN, which is that of answers that
    /// are independent of each other; e is m(1 − m) divided by it, so at most ΣN. If all shares are 0, or all are 1, e is ΣN.
    ///
    /// ```
    /// let (none, all) = ((0, 200), (200, 200));
    /// for counts in [[none; 2], [all; 2], [none, all]] {
    ///     let estimate = leadspan_experiment::Estimate::of_shares(&counts).ok_or("no counts")?;
    ///     let (low, high) = estimate.interval.ok_or("one run")?;
    ///     assert!(0.0 <= low && low <= estimate.mean && estimate.mean <= high && high <= 1.0);
    /// }
    /// # Ok::<(), &str>(())
    /// ```
    pub fn of_shares(counts: &[(u64, u64)]) -> Option<Self> {
        if counts.iter().any(|&(_, trials)| trials == 0) {
            return None;
        }
        let shares: Vec<f64> = counts
            .iter()
            .map(|&(right, trials)| right as f64 / trials as f64)
            .collect();
        let (mean, between) = mean_and_squared_error(&shares)?;
        let trials: f64 = counts.iter().map(|&(_, trials)| trials as f64).sum();
        let interval = (counts.len() > 1).then(|| {
            let spread = mean * (1.0 - mean);
            let effective = if spread > 0.0 {
                (spread / between).min(trials)
            } else {
                trials
            };
            let ratio = student_t(counts.len() - 1).powi(2) / effective;
            let half = (ratio * spread + ratio * ratio / 4.0).sqrt();
            let [low, high] = [-half, half].map(|half| (mean + ratio / 2.0 + half) / (1.0 + ratio));
            // Rounding must not move an end beyond what is possible, nor past the mean.
            (low.clamp(0.0, mean), high.clamp(mean, 1.0))
        });
        Some(Self {
            mean,
            interval,
            values: counts.len(),
        })
    }

    /// The ends of the interval, or the mean twice if there is no interval.
    pub(crate) fn span(&self) -> (f64, f64) {
        self.interval.unwrap_or((self.mean, self.mean))
    }
}

/// The mean of n values and the square of its standard error, s²/n; the latter is 0 for one value, and `None` is for none.
fn mean_and_squared_error(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, if n > 1.0 { squares / (n - 1.0) / n } else { 0.0 }))
}

/// The 97.5th percentile of Student's distribution with this many degrees of freedom, at least 1.
fn student_t(degrees: usize) -> f64 {
    #[rustfmt::skip]
    const TABLE: [f64; 30] = [
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
        2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
        2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
    ];
    if let Some(&percentile) = TABLE.get(degrees.saturating_sub(1)) {
        return percentile;
    }
    // Beyond the table, two terms of the expansion around the normal distribution (Abramowitz and Stegun, 26.7.5) are exact to
    // four decimals.
    let (z, n) = (1.959_964_f64, degrees as f64);
    z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_intervals_are_those_worked_out_by_hand() {
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of_differences(&[]), None);
        // ½ ± 12.7062 · ½.
        let (low, high) = Estimate::of_differences(&[0.0, 1.0]).unwrap().interval.unwrap();
        assert!((low + 5.8531).abs() < 1e-4 && (high - 6.8531).abs() < 1e-4);
        let single = Estimate::of(&[0.4]).unwrap();
        assert_eq!((single.mean, single.interval, single.span()), (0.4, None, (0.4, 0.4)));
        // 9 ± 4.3027 · 1/√3, and with negative values 0 ± 4.3027 · 1/√3. Without negative values nothing is below 0: 5 ± 12.7062 · √2/√2,
        // and four values of which three are 0, ¼ ± 3.1824 · ½/√4.
        for (values, mean, low, high) in [
            (&[8.0, 9.0, 10.0][..], 9.0, 6.515_8, 11.484_2),
            (&[-1.0, 0.0, 1.0], 0.0, -2.484_2, 2.484_2),
            (&[4.0, 6.0], 5.0, 0.0, 17.706_2),
            (&[0.0, 0.0, 0.0, 1.0], 0.25, 0.0, 1.045_6),
            (&[7.0, 7.0, 7.0], 7.0, 7.0, 7.0),
        ] {
            let estimate = Estimate::of(values).unwrap();
            let (found_low, found_high) = estimate.interval.unwrap();
            assert_eq!((estimate.mean, estimate.values), (mean, values.len()));
            let close = |found: f64, expected: f64| (found - expected).abs() < 1e-4;
            assert!(
                close(found_low, low) && close(found_high, high),
                "{values:?}: {estimate:?}"
            );
        }
    }

    #[test]
    fn shares_have_wilsons_interval_with_an_effective_number_of_trials() {
        assert_eq!(Estimate::of_shares(&[]), None);
        assert_eq!(Estimate::of_shares(&[(1, 2), (0, 0)]), None);
        let single = Estimate::of_shares(&[(3, 10)]).unwrap();
        assert_eq!((single.mean, single.interval, single.values), (0.3, None, 1));
        // Worked out with a pocket calculator, t²/e first:
        //  4 and 5 of 10: s²/n = 0.0025 is below 0.2475/20, so e = 20; t²/e = 161.4475/20 = 8.07238;
        //    (0.45 + 4.03619 ± √(8.07238 · 0.2475 + 16.29083)) / 9.07238 = (4.48619 ± 4.27653) / 9.07238.
        //  180 and 196 of 200: s²/n = 0.0016 is above 0.0564/400, so e = 35.25; t²/e = 4.58007;
        //    (0.94 + 2.29004 ± √(4.58007 · 0.0564 + 5.24426)) / 5.58007 = (3.23004 ± 2.34576) / 5.58007.
        //  90, 92, 91, 89 and 93 of 100: s²/n = 0.00005 is below 0.0819/500, so e = 500; t²/e = 7.70840/500 = 0.0154168;
        //    (0.91 + 0.0077084 ± √(0.0154168 · 0.0819 + 0.0000594)) / 1.0154168 = (0.9177084 ± 0.0363601) / 1.0154168.
        //  twice 0 of 10: e = 20, and the upper end is t²/e / (1 + t²/e) = 8.07238/9.07238; twice 10 of 10 is its mirror image.
        for (counts, mean, low, high) in [
            (&[(4, 10), (5, 10)][..], 0.45, 0.023_109, 0.965_868),
            (&[(180, 200), (196, 200)], 0.94, 0.158_471, 0.999_233),
            (
                &[(90, 100), (92, 100), (91, 100), (89, 100), (93, 100)],
                0.91,
                0.867_967,
                0.939_583,
            ),
            (&[(0, 10), (0, 10)], 0.0, 0.0, 0.889_775),
            (&[(10, 10), (10, 10)], 1.0, 0.110_225, 1.0),
        ] {
            let estimate = Estimate::of_shares(counts).unwrap();
            let (found_low, found_high) = estimate.interval.unwrap();
            let close = |found: f64, expected: f64| (found - expected).abs() < 1e-5;
            assert!(
                close(estimate.mean, mean) && close(found_low, low) && close(found_high, high),
                "{counts:?}: {estimate:?}, expected {low} to {high}"
            );
        }
    }

    #[test]
    fn no_interval_of_shares_leaves_what_is_possible_or_its_mean() {
        for trials in [1, 2, 10, 1000] {
            for first in 0..=trials.min(20) {
                for second in [0, 1, trials / 2, trials] {
                    let estimate = Estimate::of_shares(&[(first, trials), (second, trials)]).unwrap();
                    let (low, high) = estimate.interval.unwrap();
                    assert!(
                        0.0 <= low && low <= estimate.mean && estimate.mean <= high && high <= 1.0,
                        "{first} and {second} of {trials}: {estimate:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn percentiles_beyond_the_table_are_those_of_textbooks() {
        for (degrees, expected) in [
            (1, 12.7062),
            (30, 2.0423),
            (31, 2.0395),
            (40, 2.0211),
            (60, 2.0003),
            (120, 1.9799),
        ] {
            let found = student_t(degrees);
            assert!((found - expected).abs() < 1e-4, "{degrees}: {found}");
        }
    }
}
