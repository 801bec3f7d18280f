//! Stage one: the teacher's forward pass over the lead spans, written to shards.
//!
//! [`prepare`] makes the cache and puts the prepared corpus into it. [`run`] does that first if need be, then takes those
//! work units of its [`Worker`] that have no shard yet, one after the other:
//!
//! ```text
//!  work unit ─▶ batches ─▶ teacher ─▶ head, chunk by chunk ─▶ top-k ──channel──▶ writer thread ─▶ shard
//!             (no padding) (tokens up to    (supervised                (bounded)
//!                           the last target)  positions)
//! ```
//!
//! # Guarantees
//!
//! - A unit's batches depend only on its samples and the settings. A run that was stopped, killed or divided among workers
//!   therefore leaves the same bytes as an uninterrupted one, on the same class of device and with the same number of
//!   threads.
//! - Workers agree on their shares whenever they start, since shares depend only on the corpus, the layer and the number of
//!   workers; two workers that do the same unit do no harm. The last worker writes the manifests, and
//!   [`finalize`] says whether anything is missing.
//! - A shard exists whole or not at all (see `leadspan-cache`). A run repeats the unit in which it was interrupted.
//! - Logits exist for one chunk of `cache.head_chunk_mib` at a time, results for one batch and for what the channel
//!   holds. Memory does not grow with the number of samples, except for the prepared corpus itself.
//! - Rows that are appended to the data later become new work units; what was captured before is neither repeated nor
//!   changed. Changed or removed rows are refused by id.
//! - [`prepare_text`] prepares a corpus for training on its tokens alone. Such a cache records that, and takes no shards.
//! - A cache that this crate creates and then cannot fill for want of good data is removed again.
//!
//! [`plan`] predicts what a run would take.
//!
//! This crate prints nothing and reads no clock: the program receives [`Event`]s, and passes in the clock by which a plan
//! times the teacher. Speeds are in `docs/benchmarks.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod batches;
mod claiming;
mod costs;
mod device_class;
mod device_selection;
mod error;
mod event;
mod finalize;
mod pipeline;
mod plan;
mod prepare;
mod provenance;
mod remaining;
mod run;
mod settings;
mod teacher;
mod undo;
mod weights;
mod writer;

#[cfg(test)]
mod tests;

pub use audit::{Audit, AuditOutcome, AuditSettings, audit};
pub use error::PrecomputeError;
pub use event::{Event, Origin, Outcome, Summary};
pub use finalize::{Finalized, FinalizedLayer, finalize};
pub use leadspan_workers::{InvalidWorker, Worker};
pub use pipeline::{Pipeline, TextPipeline};
pub use plan::{
    AtProportion, Basis, Bin, Calibration, Division, LayerPlan, Lengths, Plan, PlanEvent, PlanOutcome, PlanSettings,
    Quantile, Size, SizeSource, Totals, Workers, plan,
};
pub use prepare::{PreparedCache, prepare, prepare_text};
pub use provenance::Provenance;
pub use remaining::{Remaining, unit_tokens};
pub use run::run;
pub use settings::{CacheSettings, TeacherSettings};
