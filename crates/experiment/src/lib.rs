//! Many runs from one cache, and what they show together.
//!
//! [`sweep::plan`] says which runs a sweep is made of. [`read_runs`] reads the folders of runs, finished or not; [`Report`] makes one HTML page and one CSV table of them. Both need
//! files alone: neither the cache nor a model. Nothing here prints or starts a process.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod report;
mod runs;
mod statistics;
pub mod sweep;

pub use error::ExperimentError;
pub use report::Report;
pub use runs::{Evaluation, Graded, HeldOut, Kind, Metrics, Progress, Run, StepLoss, Summary, read_runs};
pub use statistics::Estimate;
