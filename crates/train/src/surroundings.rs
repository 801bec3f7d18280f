//! What a run needs of the program around it, and what it tells it.

use std::{path::PathBuf, sync::atomic::AtomicBool, time::Duration};

use leadspan_cache::Missing;
use serde_json::Value;

use crate::{HeldOut, StepMetrics};

/// What a run needs of the program around it.
pub struct Surroundings<'a> {
    /// Set when the run should end; looked at between forward passes.
    pub stop: &'a AtomicBool,
    /// Time since some fixed moment.
    pub clock: &'a dyn Fn() -> Duration,
    /// The process's peak resident memory.
    pub peak_memory_bytes: &'a dyn Fn() -> u64,
    /// The whole configuration, stored beside the results.
    pub resolved_config: &'a Value,
    /// Whether to train on a cache from which work units are missing.
    pub missing: Missing,
}

/// What happens during a run, for whoever shows it.
#[derive(Clone, Debug)]
pub enum Event {
    /// A checkpoint cannot be used, and the one before it is, or the beginning.
    CheckpointDamaged {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        because: String,
    },
    /// The run begins, or goes on.
    Started {
        /// Optimizer steps.
        steps: usize,
        /// Those that were done before, by another process.
        steps_before: usize,
        /// Training samples with a supervised position.
        samples: usize,
        /// Training samples without one, which are left out.
        samples_left_out: usize,
        /// Samples to replay, none where nothing is replayed.
        samples_to_replay: usize,
        /// Work units that the cache lacks, by name; their samples are among those left out.
        missing_units: Vec<String>,
        /// Supervised positions of one epoch.
        positions: u64,
        /// Numbers to learn.
        parameters: usize,
    },
    /// An optimizer step is done.
    Step(StepMetrics),
    /// Held-out losses after `step` steps.
    Validation {
        /// Steps done.
        step: usize,
        /// The losses.
        held_out: HeldOut,
    },
    /// A checkpoint is written.
    Checkpoint {
        /// Steps done.
        step: usize,
        /// Where it is.
        path: PathBuf,
    },
    /// The student is written.
    Exported {
        /// Where.
        path: PathBuf,
    },
}
