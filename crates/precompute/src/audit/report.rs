//! What an audit found, and how much of it rounding explains. Pure.

use std::{collections::BTreeSet, path::Path};

use leadspan_distribution::codec::Precision;
use leadspan_model::StoredDtype;
use serde::Serialize;

use crate::PrecomputeError;

/// How well the cache agrees with the teacher. Log-probabilities are natural, divergences in nats.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Audit {
    /// The number of samples.
    pub samples: usize,
    /// The number of compared positions.
    pub positions: usize,
    /// The number of compared entries.
    pub entries: u64,
    /// Mean KL(teacher ‖ cache) over the stored tokens, with the tail as one outcome.
    pub mean_kl: f64,
    /// The 99th percentile of this divergence.
    pub p99_kl: f64,
    /// The share of positions at which both have the same most probable token.
    pub top_1_agreement: f64,
    /// Mean probability of the stored tokens according to the teacher.
    pub retained_mass: f64,
    /// 95th percentile of |stored − teacher's| log-probability over all entries.
    pub p95_logprob_error: f64,
    /// The largest of these errors.
    pub largest_logprob_error: f64,
    /// The largest |stored − teacher's| log-probability of a target.
    pub largest_target_error: f64,
    /// The sample that disagrees most, as measured by its bound; `None` if no position was compared.
    pub worst: Option<SampleAudit>,
    /// The kind of device that the audit ran on.
    pub device_class: String,
    /// The kinds of devices that captured the cache.
    pub captured_on: BTreeSet<String>,
}

/// How well the cache agrees with the teacher on one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleAudit {
    /// Its id.
    pub id: String,
    /// Its work unit.
    pub unit: String,
    /// The number of its compared positions.
    pub positions: usize,
    /// Mean KL(teacher ‖ cache) of these positions.
    pub mean_kl: f64,
    /// The mean that rounding explains: that of the stored form, and that of the device's arithmetic.
    pub bound: f64,
}

impl SampleAudit {
    /// The divergence in bounds.
    pub(super) fn severity(&self) -> f64 {
        self.mean_kl / self.bound
    }
}

impl Audit {
    /// Refuses a cache that disagrees with its teacher by more than rounding explains. `cache` is its folder.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::Disagrees`] with the worst sample.
    pub fn check(&self, cache: &Path) -> Result<(), PrecomputeError> {
        match &self.worst {
            // A divergence that is not a number is no agreement.
            Some(worst) if worst.mean_kl.is_nan() || worst.mean_kl > worst.bound => Err(PrecomputeError::Disagrees {
                cache: cache.to_owned(),
                sample: worst.id.clone(),
                unit: worst.unit.clone(),
                divergence: worst.mean_kl,
                bound: worst.bound,
            }),
            _ => Ok(()),
        }
    }
}

/// What rounds the numbers of a teacher that runs again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arithmetic {
    /// A number format, on the kind of device that captured or on another.
    Format { dtype: StoredDtype, same_device: bool },
    /// A server, whose answers to the same questions differed by so much on average, in nats, when the capture began.
    Served { spread: f64 },
}

/// The divergence that comes from the tail of a served teacher, which is a difference: 1e-6 of probability, times the 16 nats between
/// its logarithm and that of the smallest tail.
const SERVED_TAIL: f64 = 2e-5;

/// The mean divergence of `positions` positions of a sample that rounding explains: some times what was measured of the stored
/// form and of each number format (`docs/benchmarks.md`), and more for a few positions, which no mean evens out.
///
/// In single precision another device adds in another order, which is nothing beside the stored form. In narrower formats each
/// activation is rounded, and two kinds of devices round most of them differently. The same kind of device rounds alike unless a
/// batch of another size makes it choose another kernel. Other weights differ by tenths of a nat and more.
///
/// The format that a server computes in is not known, but how much its answers differ. The mean divergence is at most the mean
/// difference of log-probabilities.
pub(super) fn bound(precision: Precision, arithmetic: Arithmetic, positions: usize) -> f64 {
    let stored = match precision {
        Precision::Exact => 1e-6,
        Precision::Fine => 3e-4,
        Precision::Standard => 1e-3,
    };
    let computed = match arithmetic {
        Arithmetic::Served { spread } => spread + SERVED_TAIL,
        Arithmetic::Format { dtype, same_device } => {
            let other_device = match dtype {
                StoredDtype::F32 => 0.0,
                StoredDtype::F16 => 2e-3,
                StoredDtype::Native => 2e-2,
                StoredDtype::Bf16 => 5e-2,
            };
            if same_device { other_device / 5.0 } else { other_device }
        }
    };
    let long = stored + computed;
    long * (1.0 + 4.0 / positions.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_explains_more_in_narrower_formats_and_on_another_device() {
        let of = |precision, dtype, same_device| bound(precision, Arithmetic::Format { dtype, same_device }, 64);
        let served = |precision, spread| bound(precision, Arithmetic::Served { spread }, 64);
        let is =
            |found: f64, expected: f64| assert!((found / expected / (1.0 + 4.0 / 64.0) - 1.0).abs() < 1e-12, "{found}");
        is(of(Precision::Exact, StoredDtype::F32, false), 1e-6);
        is(of(Precision::Standard, StoredDtype::F32, true), 1e-3);
        is(of(Precision::Fine, StoredDtype::Bf16, false), 0.0503);
        is(of(Precision::Standard, StoredDtype::Bf16, true), 0.011);
        // A server that repeated itself to the bit explains nothing but the tail.
        is(served(Precision::Exact, 0.0), 2.1e-5);
        is(served(Precision::Standard, 0.0), 1.02e-3);
        is(served(Precision::Exact, 0.03), 0.030_021);
        // A single position may be off by more.
        let arithmetic = Arithmetic::Format {
            dtype: StoredDtype::F32,
            same_device: true,
        };
        assert!((bound(Precision::Standard, arithmetic, 1) - 5e-3).abs() < 1e-12);
    }

    #[test]
    fn a_sample_beyond_the_bound_fails_the_audit_however_small_the_mean() {
        let mut audit = Audit::default();
        audit.check(Path::new("cache")).unwrap();
        for (mean_kl, fails) in [(1e-3, false), (2e-3, true), (f64::NAN, true), (-1e-9, false)] {
            audit.worst = Some(SampleAudit {
                id: "row-7".to_owned(),
                unit: "train-000001".to_owned(),
                positions: 64,
                mean_kl,
                bound: 1e-3,
            });
            assert_eq!(audit.check(Path::new("cache")).is_err(), fails, "{mean_kl}");
        }
    }
}
