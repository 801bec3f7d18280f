//! Stage one: the teacher's forward pass over the lead spans, written to shards.
//!
//! [`prepare`] makes the cache and its prepared corpus. [`run`] prepares first if necessary, and then captures the work units
//! of its [`Worker`](leadspan_workers::Worker) that have no shard yet, one after the other:
//!
//! ```text
//!  work unit ─▶ batches ─▶ teacher ─▶ head, chunk by chunk ─▶ top-k ──channel──▶ writer thread ─▶ shard
//!             (no padding) (tokens up to    (supervised                (bounded)
//!                           the last target)  positions)
//! ```
//!
//! # Guarantees
//!
//! - The batches of a unit depend only on its samples and the settings. So a run that was stopped, killed or divided among
//!   workers leaves the same bytes as an uninterrupted run, on the same class of device and with the same number of threads.
//! - Workers agree on their shares whenever they start, because shares depend only on the corpus, the layer and the number
//!   of workers. If two workers do the same unit, the shard is the same. The last worker writes the manifests, and
//!   [`finalize`] says whether anything is missing.
//! - A shard exists whole or not at all (see `leadspan-cache`). The next run repeats the unit in which a run was interrupted.
//! - Logits exist for one chunk of `cache.head_chunk_mib` at a time, and results for one batch and for the batches in the
//!   channel. Memory does not grow with the number of samples, except by ids and bounds while the corpus is prepared.
//! - Rows that are appended to the data later become new work units. Nothing that was captured before is repeated or changed.
//!   Changed or removed rows are refused by id.
//! - [`prepare_text`] prepares a corpus for training on its tokens alone. Such a cache records that it has no teacher, and
//!   takes no shards.
//! - If this crate creates a cache and then cannot fill it because the data is unusable, it removes the cache.
//!
//! The teacher is a model that this process loads, or reads layer by layer in every pass if it does not fit into
//! `teacher.memory`, or one that an inference server runs, which is asked over HTTP.
//!
//! [`plan`] predicts the cost of a run.
//!
//! This crate prints nothing and reads no clock: the program receives [`Event`]s, and passes in the clock by which a plan
//! times the teacher. Speeds are in `docs/benchmarks.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod batches;
mod captured;
mod claiming;
mod costs;
mod data_hashes;
mod device_class;
mod device_selection;
mod end_of_turn;
mod error;
mod event;
mod finalize;
mod memory_size;
mod pipeline;
mod plan;
mod prepare;
mod provenance;
mod remaining;
mod run;
mod server_address;
mod server_authorities;
mod server_engine;
mod server_error;
mod server_key;
mod settings;
mod stamp;
mod teacher;
mod undo;
mod weights;
mod writer;

#[cfg(test)]
mod tests;

pub use audit::{Audit, AuditEvent, AuditOutcome, AuditSettings, SampleAudit, audit};
pub use data_hashes::DataCheck;
pub use end_of_turn::{StudentFiles, student_files};
pub use error::PrecomputeError;
pub use event::{Event, Origin, Outcome, Summary};
pub use finalize::{Finalized, FinalizedLayer, finalize};
pub use memory_size::{MemorySize, WrongMemorySize};
pub use pipeline::{Pipeline, TextPipeline};
pub use plan::{
    AtProportion, Basis, Bin, Calibration, Division, LayerPlan, Lengths, Plan, PlanEvent, PlanOutcome, PlanSettings,
    Quantile, Size, SizeSource, StreamedPasses, Totals, Workers, plan,
};
pub use prepare::{PreparedCache, difference_from, prepare, prepare_text};
pub use provenance::Provenance;
pub use remaining::{Remaining, unit_tokens};
pub use run::{run, run_beside};
pub use server_address::WrongAddress;
pub use server_authorities::ServerAuthorities;
pub use server_engine::ServerEngine;
pub use server_error::{ServerError, WrongAnswer};
pub use server_key::ServerKey;
pub use settings::{CacheSettings, TeacherSettings};
pub use teacher::{MemoryBound, ServerWait, Streaming};
