//! Stage one: the teacher's forward pass over the lead spans, written to shards.
//!
//! [`prepare`] makes the cache and puts the prepared corpus into it; [`run`] does that first if need be, then takes the
//! work units of its [`Worker`] that have no shard yet, one after the other:
//!
//! ```text
//!  work unit ─▶ batches ─▶ teacher ─▶ head, chunk by chunk ─▶ top-k ──channel──▶ writer thread ─▶ shard
//!             (no padding) (tokens up to    (supervised                (bounded)
//!                           the last target)  positions)
//! ```
//!
//! # What can be relied on
//!
//! - A unit's batches depend on its samples and the settings alone. So a run that was stopped, killed or divided among
//!   workers leaves the same bytes as one that went through at once, on the same class of device and with the same
//!   number of threads.
//! - Workers agree on their shares whenever they start, since those depend on the corpus, the layer and their number alone;
//!   a worker that claims units does no harm to one that does the same unit. Whoever comes last writes the manifests, and
//!   [`finalize`] says whether anything is missing.
//! - A shard is there whole or not at all (see `leadspan-cache`); what a run was doing when it ended is done again.
//! - Logits exist for one chunk of `cache.head_chunk_mib` at a time, results for one batch and those that the channel
//!   holds. Memory does not grow with the number of samples beyond the prepared corpus itself.
//! - Rows that are appended to the data later become work units of their own, behind those that are there; nothing of
//!   what was captured before is done again or changed. Rows that were changed or removed are refused by id.
//! - [`prepare_text`] prepares a corpus that no teacher will see, for training on its tokens alone: such a cache says so, and
//!   takes no shards.
//! - A cache that this crate creates and then cannot fill for want of good data is removed again.
//!
//! [`plan`] says what a run would take before there is one.
//!
//! # Speed and memory
//!
//! SmolLM2-135M in single precision over 32 samples of smollm2-gsm, all positions, 64 entries, on a virtual machine with 2
//! cores (AMD EPYC, AVX-512), in turn: `tests/compare/capture.sh PIPELINE EXPORT --rounds 2 --samples 32`. *Bare* is the
//! forward pass and the head of the same positions and nothing else; the capture runs until its shard is committed:
//!
//! ```text
//! bare forward and head:  584 tokens/s
//! capture:                574 tokens/s, 686 MB at most
//! PyTorch's capture:      402 tokens/s, 1721 MB at most
//! capture over bare:      1.013 times the time
//! capture over PyTorch's: 1.43 times the tokens/s
//! four times the samples: 1.006 times the memory
//! parts one by one:       {'forward': 0.818, 'head': 0.169, 'selection': 0.013}
//! ```
//!
//! Nothing is printed and no clock is read here: the program gets [`Event`]s, and hands over the clock by which a plan
//! times the teacher.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod audit;
mod batches;
mod claiming;
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
mod share;
mod teacher;
mod undo;
mod weights;
mod worker;
mod writer;

#[cfg(test)]
mod tests;

pub use audit::{Audit, AuditOutcome, AuditSettings, audit};
pub use error::PrecomputeError;
pub use event::{Event, Origin, Outcome, Summary};
pub use finalize::{Finalized, FinalizedLayer, finalize};
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
pub use worker::{InvalidWorker, Worker};
