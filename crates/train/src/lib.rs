//! Stage two: a student learns from the cache.
//!
//! [`run`] streams the cached lead spans into a student and writes it as a Hugging Face directory. It needs the cache
//! and nothing else: not the teacher, not the raw data, not the chat template. The objective is
//! (1 − α)·cross-entropy + α·τ²·divergence on the same positions; see [`objective`].
//!
//! The loop itself is in `run.rs`; batches, schedule, optimizer and objective are plain parts around it. The crate
//! prints nothing and reads no clock: what it needs of its surroundings is handed to it as [`Surroundings`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batches;
mod error;
pub mod gradients;
mod held_out;
mod metrics;
pub mod objective;
mod optimizer;
mod order;
#[cfg(test)]
mod parity;
mod run;
mod run_dir;
mod schedule;
mod settings;
mod student;

pub use error::TrainError;
pub use held_out::HeldOut;
pub use metrics::StepMetrics;
pub use optimizer::{AdamW, AdamWSettings};
pub use run::{Event, Outcome, Summary, Surroundings, run};
pub use schedule::Schedule;
pub use settings::{Loss, Normalization, StudentSettings, TailPolicy, TrainSettings};
