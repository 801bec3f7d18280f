//! Sweeps of runs from one cache, and the report that compares the runs.
//!
//! [`sweep::plan`] lists the runs of a sweep. [`read_runs`] reads the folders of runs, finished or not; [`Report`] makes one HTML
//! page and one CSV table of them. Both need only files: neither the cache nor a model. Nothing here prints or starts a process.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod report;
mod runs;
mod statistics;
pub mod sweep;

pub use error::ExperimentError;
pub use report::Report;
pub use runs::{
    EvaluationResults, Graded, HeldOut, Kind, Metrics, Run, RunState, StepLoss, TrainingSummary, read_runs,
};
pub use statistics::Estimate;
