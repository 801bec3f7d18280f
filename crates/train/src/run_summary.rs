//! The result of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{HeldOut, run_progress::Measured, run_progress::RunProgress};

/// How a run ended.
#[derive(Clone, Debug)]
pub enum TrainingOutcome {
    /// It ran to its end.
    Done(RunSummary),
    /// An earlier process had finished it.
    AlreadyDone(RunSummary),
    /// It ran to its end, or had been finished, and another process, the first of several, has the summary.
    Followed,
    /// It was stopped. The same call resumes it from its last finished step.
    Stopped,
}

/// The result of a run, over all processes that took part in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Optimizer steps.
    pub steps: usize,
    /// The step after which the exported student was taken.
    pub exported_step: usize,
    /// The step after which, of those that ended an epoch or the run, the held-out loss was the lowest.
    pub best_step: Option<usize>,
    /// Tokens through the student, padding left out.
    pub tokens: u64,
    /// Supervised positions learnt from.
    pub positions: u64,
    /// Operations of the products of forward and backward, at most 2^64 − 1, without validation and without what activation
    /// checkpointing computes again.
    pub training_flops: u64,
    /// Stored bytes of the blocks that were read for the steps, without validation and without the heads of row groups, which
    /// many samples share.
    pub cache_bytes_read: u64,
    /// Seconds of the steps, without validation and without steps that were dropped when a process was stopped.
    pub seconds: f64,
    /// Tokens over those seconds.
    pub tokens_per_second: f64,
    /// The share of those seconds spent waiting for batches.
    pub waiting_share: f64,
    /// The number of trainable parameters.
    pub parameters: usize,
    /// The last process's peak resident memory.
    pub peak_memory_bytes: u64,
    /// Held-out losses before the first step.
    pub held_out_before: Option<HeldOut>,
    /// Held-out losses of the exported student.
    pub held_out_after: Option<HeldOut>,
    /// The blake3 of the exported student's weights; `None` in summaries of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_blake3: Option<String>,
    /// The blake3 of each other file of the exported student, by its name; empty in summaries of older versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files_blake3: BTreeMap<String, String>,
}

impl RunSummary {
    /// The summary of a finished run. `exported` is what was measured of the exported student, if that is not the last one.
    pub(crate) fn new(
        progress: &RunProgress,
        exported: Option<Measured>,
        parameters: usize,
        peak_memory_bytes: u64,
        (weights_blake3, files_blake3): (String, BTreeMap<String, String>),
    ) -> Self {
        let seconds = progress.seconds.max(1e-9);
        Self {
            steps: progress.step,
            exported_step: exported.map_or(progress.step, |exported| exported.step),
            best_step: progress.best_step(),
            tokens: progress.tokens,
            positions: progress.positions,
            training_flops: progress.training_flops,
            cache_bytes_read: progress.cache_bytes_read,
            seconds: progress.seconds,
            tokens_per_second: progress.tokens as f64 / seconds,
            waiting_share: progress.waited_seconds / seconds,
            parameters,
            peak_memory_bytes,
            held_out_before: progress.held_out_before,
            held_out_after: exported.or(progress.held_out).map(|measured| measured.held_out),
            weights_blake3: Some(weights_blake3),
            files_blake3,
        }
    }
}
