//! Arguments that several commands share: the pipeline file, which worker this is, and when to stop.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;
use leadspan_workers::Worker;

use crate::{overrides::Override, time_span::TimeSpan};

/// The pipeline file and what is set over it.
#[derive(Args, Debug)]
pub(crate) struct PipelineArguments {
    /// The pipeline file
    #[arg(short, long = "config", value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Set one key of the pipeline file for this run, such as `train.learning_rate=1e-5`; can be repeated
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE", value_parser = Override::parse)]
    pub(crate) overrides: Vec<Override>,
}

/// When to stop, and how.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Stopping {
    /// Stop, as on SIGTERM, when the program has run for this long, such as `55m` or `1h 50m`
    #[arg(long, value_name = "TIME")]
    pub(crate) stop_after: Option<TimeSpan>,

    /// How long a stop may take; work that is unfinished by then, such as a checkpoint, is dropped [default: 8s]
    #[arg(long, value_name = "TIME")]
    pub(crate) grace: Option<TimeSpan>,
}

/// Which of several processes this is.
#[derive(Args, Debug)]
pub(crate) struct WorkerArguments {
    /// Be worker I of N, counted from 0; by default as the batch scheduler says, or the only worker
    #[arg(long, value_name = "I/N")]
    pub(crate) worker: Option<Worker>,

    /// The number of workers, if the scheduler does not know it or runs only some tasks; I is then the id of the task
    #[arg(long, value_name = "N", conflicts_with = "worker")]
    pub(crate) workers: Option<NonZeroUsize>,
}
