//! The run's metrics: one JSON object per line, and the same numbers for TensorBoard.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use leadspan_files::open_own;
use serde::Serialize;

use crate::{HeldOut, TrainError, tensorboard::EventFile};

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Record {
    Step(StepMetrics),
    Validation {
        /// Optimizer steps done.
        step: usize,
        #[serde(flatten)]
        held_out: HeldOut,
    },
}

/// The metrics of one optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Counted from 1.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Counted from 1.
    pub epoch: usize,
    /// (1 − α)·CE + α·τ²·D, in nats. With replay, the sum of this and the replayed samples' CE, each times its share of the
    /// weights.
    pub loss: f64,
    /// CE. This and the following losses leave out replayed samples.
    pub loss_cross_entropy: f64,
    /// Forward KL at temperature 1 over entries and bucket, whatever D is; `None` if α is 0.
    pub loss_forward_kl: Option<f64>,
    /// That plus the teacher's entropy.
    pub loss_soft_cross_entropy: Option<f64>,
    /// D under its own name, such as `loss_reverse_kl`, unless it is the forward KL above or α is 0.
    #[serde(flatten)]
    pub loss_distillation: BTreeMap<String, f64>,
    /// The metrics of replayed samples, if there were any.
    #[serde(flatten)]
    pub replay: Option<ReplayMetrics>,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// The gradients' global norm before clipping.
    pub gradient_norm: f64,
    /// Positions that were learnt, replayed ones included.
    pub positions: usize,
    /// Tokens through the student, replayed ones included.
    pub tokens: usize,
    /// Tokens of this step over its seconds.
    pub tokens_per_second: f64,
    /// Operations of the products of forward and backward in all steps up to this one.
    pub training_flops: u64,
    /// Stored bytes of the blocks read from the cache for all steps up to this one.
    pub cache_bytes_read: u64,
    /// Seconds of this step spent waiting for its batch.
    pub waited_seconds: f64,
    /// The process's peak resident memory.
    pub peak_memory_bytes: u64,
}

/// The metrics of the samples replayed in one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayMetrics {
    /// Their CE.
    pub loss_replay: f64,
    /// Their positions.
    pub replay_positions: usize,
    /// Their tokens through the student.
    pub replay_tokens: usize,
}

impl Record {
    /// The group of the record's numbers in TensorBoard, and the steps done.
    fn place(&self) -> (&'static str, usize) {
        match self {
            Self::Step(metrics) => ("train", metrics.step),
            Self::Validation { step, .. } => ("held_out", *step),
        }
    }
}

/// The open metrics file.
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    bytes: u64,
    events: EventFile,
}

impl Metrics {
    /// Opens the file, or creates it, and cuts it to its first `bytes` bytes. What is written goes to `events` as well.
    pub(crate) fn open(path: PathBuf, bytes: u64, events: EventFile) -> Result<Self, TrainError> {
        let mut options = File::options();
        let opened = open_own(&path, options.create(true).append(true));
        let opened = opened.and_then(|file| file.set_len(bytes).map(|()| file));
        let file = opened.map_err(|source| TrainError::Io {
            action: "open",
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            file,
            bytes,
            events,
        })
    }

    /// Appends a record; `now` is the time since 1970.
    pub(crate) fn write(&mut self, record: &Record, now: Duration) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(record).expect("numbers serialize");
        line.push(b'\n');
        // One write per line, so that a reader of the growing file sees whole lines.
        let written = self.file.write_all(&line);
        written.map_err(|source| self.failed("write", source))?;
        self.bytes += line.len() as u64;
        let (group, step) = record.place();
        let value = serde_json::to_value(record).expect("numbers serialize");
        self.events.write(group, step, &value, now)
    }

    /// Syncs the file and returns its length in bytes.
    pub(crate) fn synced_bytes(&self) -> Result<u64, TrainError> {
        let synced = self.file.sync_data();
        synced.map_err(|source| self.failed("sync", source))?;
        Ok(self.bytes)
    }

    fn failed(&self, action: &'static str, source: io::Error) -> TrainError {
        TrainError::Io {
            action,
            path: self.path.clone(),
            source,
        }
    }
}
