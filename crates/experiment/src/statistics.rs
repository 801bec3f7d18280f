//! Means over seeds, with confidence intervals.

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
    /// ```
    /// let estimate = leadspan_experiment::Estimate::of(&[1.0, 2.0, 3.0]).ok_or("no values")?;
    /// assert_eq!((estimate.mean, estimate.values), (2.0, 3));
    /// # Ok::<(), &str>(())
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let interval = (values.len() > 1).then(|| {
            let half = student_t(values.len() - 1) * (squares / (n - 1.0) / n).sqrt();
            (mean - half, mean + half)
        });
        Some(Self {
            mean,
            interval,
            values: values.len(),
        })
    }

    /// The ends of the interval, or the mean twice if there is no interval.
    pub(crate) fn span(&self) -> (f64, f64) {
        self.interval.unwrap_or((self.mean, self.mean))
    }
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
        let single = Estimate::of(&[0.4]).unwrap();
        assert_eq!((single.mean, single.interval, single.span()), (0.4, None, (0.4, 0.4)));
        // 2 ± 4.3027 · 1/√3, 5 ± 12.7062 · √2/√2, and four values of which three are 0: ¼ ± 3.1824 · ½/√4.
        for (values, mean, half) in [
            (&[1.0, 2.0, 3.0][..], 2.0, 2.484_2),
            (&[4.0, 6.0], 5.0, 12.706_2),
            (&[0.0, 0.0, 0.0, 1.0], 0.25, 0.795_6),
            (&[7.0, 7.0, 7.0], 7.0, 0.0),
        ] {
            let estimate = Estimate::of(values).unwrap();
            let (low, high) = estimate.interval.unwrap();
            assert_eq!((estimate.mean, estimate.values), (mean, values.len()));
            let close = |found: f64, expected: f64| (found - expected).abs() < 1e-4;
            assert!(
                close(low, mean - half) && close(high, mean + half),
                "{values:?}: {estimate:?}"
            );
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
