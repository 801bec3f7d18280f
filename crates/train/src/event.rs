//! The events that a run reports.

use std::path::PathBuf;

use leadspan_model::Distrust;
use leadspan_workers::Holder;

use crate::{HeldOut, StepMetrics};

/// Something that happened during a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// The folder's file system has no locks, and another process may be working in the folder. The run waits for it, and takes
    /// the folder over if that process turns out to be dead. Reported before each pause.
    Waiting(Holder),
    /// A checkpoint cannot be used: the run resumes from the one before it, or starts again.
    CheckpointDamaged {
        /// Where it is.
        path: PathBuf,
        /// The reason.
        because: String,
    },
    /// The student runs in stock operations, because its fused kernels cannot be trusted on this device.
    StockKernels(Distrust),
    /// The run starts or resumes.
    Started {
        /// Optimizer steps.
        steps: usize,
        /// Steps that an earlier process has done.
        steps_before: usize,
        /// Training samples with a supervised position.
        samples: usize,
        /// Training samples without one, which are left out.
        samples_left_out: usize,
        /// Samples to replay; 0 if nothing is replayed.
        samples_to_replay: usize,
        /// Samples that are not replayed because they are copies of held-out ones.
        copies_left_out: usize,
        /// The names of work units that the cache lacks; their samples are left out.
        missing_units: Vec<String>,
        /// Positions learnt in an epoch, in the mean over all epochs.
        positions: u64,
        /// The number of trainable parameters.
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
    /// The run ends before its last step, because the held-out loss has not fallen for `train.patience` epochs.
    Exhausted {
        /// Steps done.
        step: usize,
        /// The step after which the held-out loss was the lowest.
        best_step: Option<usize>,
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
        /// Its folder.
        path: PathBuf,
    },
}
