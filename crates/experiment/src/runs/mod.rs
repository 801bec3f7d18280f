//! Runs, as read from their folders. Reading is lenient, so that runs of earlier versions count too.
//!
//! A value that a run lacks is `None`, and the page says that it is missing. A file that exists but cannot be parsed, or that
//! contradicts itself or another one, is an error.

mod agreement;
mod evaluation;
mod find;
mod json_files;
mod metrics;
mod ranges;
mod read;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

use leadspan_sequence::LeadSpanProportion;
use serde::{Deserialize, Serialize};

pub use evaluation::{EvaluationResults, Graded};
pub use find::read_runs;
pub use metrics::{Metrics, StepLoss};

/// The supervision policies, each with the value that says what runs did before it existed.
const POLICIES: [(&str, &str); 3] = [
    ("train.lead_span", "constant"),
    ("train.positions", "all"),
    ("train.position_weights", "flat"),
];

/// The key by which a run records the problems that it was evaluated on.
pub(crate) const PROBLEMS: &str = "evaluation.problems";

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A student taught by the teacher.
    Distilled,
    /// A student that learnt from the text alone.
    Supervised,
    /// A student taught up to a limit of operations, such as those of a run on shorter sequences.
    EqualCompute,
    /// The student before training: a limit of zero operations.
    Untrained,
}

impl Kind {
    /// Its name in files and on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Distilled => "distilled",
            Self::Supervised => "supervised only",
            Self::EqualCompute => "equal compute",
            Self::Untrained => "untrained",
        }
    }
}

/// Held-out losses, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct HeldOut {
    /// The negative log-probability of the actual next token; `None` if it is not finite, which JSON writes as `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub cross_entropy: Option<f64>,
    /// KL(teacher ‖ student).
    pub forward_kl: Option<f64>,
    /// The share of positions where student and teacher have the same most probable token.
    pub top_1_agreement: Option<f64>,
}

/// The summary that a finished training writes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct TrainingSummary {
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens through the student.
    pub tokens: u64,
    /// Supervised positions.
    pub positions: Option<u64>,
    /// Seconds of all steps.
    pub seconds: f64,
    /// Peak memory of the process.
    pub peak_memory_bytes: Option<u64>,
    /// Floating-point operations of the training.
    pub training_flops: Option<f64>,
    /// Bytes of distributions read from the cache.
    pub cache_bytes_read: Option<u64>,
    /// Held-out losses before the first step.
    pub held_out_before: Option<HeldOut>,
    /// Held-out losses of the exported student.
    pub held_out_after: Option<HeldOut>,
}

/// Whether a run is finished.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// The training is finished.
    Finished(TrainingSummary),
    /// The training is not finished.
    Unfinished {
        /// Steps in its metrics.
        steps: u64,
        /// Steps of the whole run, if its metrics have them.
        of: Option<u64>,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The name of its folder, or the whole path if two runs have the same name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its kind.
    pub kind: Kind,
    /// Its resolved configuration, `table.key` to value.
    pub config: BTreeMap<String, String>,
    /// Whether it is finished.
    pub state: RunState,
    /// Losses while it was trained.
    pub metrics: Metrics,
    /// Its results on problems, if it was evaluated.
    pub evaluation: Option<EvaluationResults>,
    /// Seconds from start to end, with the evaluation, if a sweep ran it.
    pub wall_seconds: Option<f64>,
}

impl Run {
    /// The proportion that it was trained at, if it is one for all samples.
    pub fn proportion(&self) -> Option<LeadSpanProportion> {
        if self.lead_span().is_some() {
            return None;
        }
        self.config.get("train.lead_span_proportion")?.parse().ok()
    }

    /// The policy of its lead spans, if each sample has its own.
    pub fn lead_span(&self) -> Option<&str> {
        let policy = self.config.get("train.lead_span").map(String::as_str);
        policy.filter(|policy| *policy != "constant")
    }

    /// Its proportion, or the policy of its lead spans.
    pub fn shown_lead_span(&self) -> Option<String> {
        let proportion = || self.proportion().map(|proportion| proportion.to_string());
        self.lead_span().map(str::to_owned).or_else(proportion)
    }

    /// How many of its supervision policies are not the default.
    pub(crate) fn policies(&self) -> usize {
        let differs = |(key, default): &(&str, &str)| self.config.get(*key).is_some_and(|value| value != default);
        POLICIES.iter().filter(|policy| differs(policy)).count()
    }

    /// The sections that it was supervised on, joined by `+`.
    pub fn sections(&self) -> Option<&str> {
        self.config.get("train.supervised_sections").map(String::as_str)
    }

    /// Its seed.
    pub fn seed(&self) -> Option<&str> {
        self.config.get("train.seed").map(String::as_str)
    }

    /// The summary of its training, if that is finished.
    pub fn summary(&self) -> Option<&TrainingSummary> {
        match &self.state {
            RunState::Finished(summary) => Some(summary),
            RunState::Unfinished { .. } => None,
        }
    }

    /// Held-out losses of the final student.
    pub fn held_out(&self) -> Option<HeldOut> {
        let measured = self.summary().and_then(|summary| summary.held_out_after);
        measured.or_else(|| self.evaluation.as_ref()?.held_out)
    }
}
