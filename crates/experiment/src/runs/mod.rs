//! Runs as their folders have them: read leniently, so that those of earlier versions count too.
//!
//! A value that a run does not have is `None` and said to be missing on the page; a file that is there and cannot be understood
//! is an error.

mod evaluation;
mod find;
mod metrics;
mod read;

use std::{collections::BTreeMap, path::PathBuf};

use leadspan_sequence::LeadSpanProportion;
use serde::{Deserialize, Serialize};

pub use evaluation::{Evaluation, Graded};
pub use find::read_runs;
pub use metrics::{Metrics, StepLoss};

/// What a run was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A student taught by the teacher.
    Distilled,
    /// A student that learnt the text alone.
    Supervised,
    /// Taught until an allowance of operations was used up, such as whole sequences with those of a shorter proportion.
    EqualCompute,
    /// The student as it was before training: an allowance of none.
    Untrained,
}

impl Kind {
    /// As it is written in files and on the page.
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
    /// −log probability of the real next token.
    pub cross_entropy: f64,
    /// KL(teacher ‖ student).
    pub forward_kl: Option<f64>,
    /// The share of positions where student and teacher have the same most probable token.
    pub top_1_agreement: Option<f64>,
}

/// What a finished training says of itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Summary {
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens through the student.
    pub tokens: u64,
    /// Supervised positions.
    pub positions: Option<u64>,
    /// Seconds of all steps.
    pub seconds: f64,
    /// The most memory that the process had.
    pub peak_memory_bytes: Option<u64>,
    /// Floating-point operations of the training.
    pub training_flops: Option<f64>,
    /// Bytes of distributions that were read.
    pub cache_bytes_read: Option<u64>,
    /// Before the first step.
    pub held_out_before: Option<HeldOut>,
    /// Of the student that was exported.
    pub held_out_after: Option<HeldOut>,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Trained to its end.
    Finished(Summary),
    /// Not there yet.
    Unfinished {
        /// Steps that its metrics tell of.
        steps: u64,
        /// Of so many, where it has begun.
        of: Option<u64>,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder's name, or the folder where two have the same name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// What it was for.
    pub kind: Kind,
    /// Its resolved configuration, `table.key` to value.
    pub config: BTreeMap<String, String>,
    /// How far it has come.
    pub progress: Progress,
    /// Losses while it was trained.
    pub metrics: Metrics,
    /// How it did on problems, where it was evaluated.
    pub evaluation: Option<Evaluation>,
    /// Seconds from its start to its end, evaluation included, where a sweep ran it.
    pub wall_seconds: Option<f64>,
}

impl Run {
    /// The proportion that it was trained at.
    pub fn proportion(&self) -> Option<LeadSpanProportion> {
        self.config.get("train.lead_span_proportion")?.parse().ok()
    }

    /// The sections that it was supervised on, joined by `+`.
    pub fn sections(&self) -> Option<&str> {
        self.config.get("train.supervised_sections").map(String::as_str)
    }

    /// Its seed.
    pub fn seed(&self) -> Option<&str> {
        self.config.get("train.seed").map(String::as_str)
    }

    /// What it says of its training, where that has ended.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.progress {
            Progress::Finished(summary) => Some(summary),
            Progress::Unfinished { .. } => None,
        }
    }

    /// Held-out losses of the student that it ended with.
    pub fn held_out(&self) -> Option<HeldOut> {
        let measured = self.summary().and_then(|summary| summary.held_out_after);
        measured.or_else(|| self.evaluation.as_ref()?.held_out)
    }
}
