//! How faithful a cache is, as a card states it: the figures of an audit.

use std::fmt;

use serde::Deserialize;

/// The figures of an audit of one cache. Divergences and errors are in nats, shares from 0 to 1.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Fidelity {
    /// The number of samples that were compared.
    pub samples: u64,
    /// The number of positions that were compared.
    pub positions: u64,
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
    /// The largest |stored − teacher's| log-probability of a target.
    pub largest_target_error: f64,
    /// The kind of device that the audit ran on.
    pub device_class: String,
}

impl Fidelity {
    /// The first figure that no audit gives, by its name: one that is negative or not finite, or a share above 1.
    pub fn impossible(&self) -> Option<&'static str> {
        let figures = [
            ("mean_kl", self.mean_kl, f64::MAX),
            ("p99_kl", self.p99_kl, f64::MAX),
            ("top_1_agreement", self.top_1_agreement, 1.0),
            ("retained_mass", self.retained_mass, 1.0 + 1e-6),
            ("p95_logprob_error", self.p95_logprob_error, f64::MAX),
            ("largest_target_error", self.largest_target_error, f64::MAX),
        ];
        // Rounding may leave a divergence of equal distributions slightly below 0.
        let wrong = figures
            .into_iter()
            .find(|(_, value, most)| !(-1e-6..=*most).contains(value));
        wrong.map(|(name, ..)| name)
    }
}

impl fmt::Display for Fidelity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`leadspan cache audit` ran the teacher again at {} random positions of {} samples.\n\n\
             | | |\n|---|---|\n\
             | KL(teacher ‖ cache), mean | {:.2e} nats |\n\
             | KL(teacher ‖ cache), 99th percentile | {:.2e} nats |\n\
             | same most probable token | {:.2} % |\n\
             | probability of the stored tokens | {:.2} % |\n\
             | error of log-probabilities, 95th percentile | {:.3} nats |\n\
             | largest error of a target's log-probability | {:.4} nats |\n\
             | device of the audit | {} |",
            self.positions,
            self.samples,
            self.mean_kl,
            self.p99_kl,
            100.0 * self.top_1_agreement,
            100.0 * self.retained_mass,
            self.p95_logprob_error,
            self.largest_target_error,
            super::words::cell(&self.device_class)
        )
    }
}
