//! Stage two: a student learns from the cache.
//!
//! [`run`] streams the cached lead spans into a student and writes the student as a Hugging Face directory. It needs only the
//! cache: not the teacher, the raw data or the chat template. The objective is
//! (1 − α)·cross-entropy + α·τ²·divergence on the same positions; see [`objective`].
//!
//! The loop is in `training.rs`; what comes before and after it is in `run.rs`. Plan, batches, schedule, optimizer and
//! objective are plain parts around them. The crate prints nothing and reads no clock: the caller passes what it needs as
//! [`RunContext`].
//!
//! With α = 0 the prepared corpus is enough: shards are read only for held-out losses.
//!
//! A step may include samples to replay. These are complete samples from a corpus of their own inside the cache, with all
//! positions supervised by cross-entropy alone. A step's loss is the sum over the positions of both kinds, (1 − α)·CE + α·τ²·D
//! at those that are distilled and CE at the others, each times the position's weight. The weights of a step sum to one: with
//! `token` normalisation each weight is one over the number of positions of both kinds, with `sequence` one over the number of
//! samples of both kinds and the number of positions of its own sample. Metrics report the mean over each kind separately.
//!
//! Supervision policies ([`LeadSpan`], [`Positions`], [`PositionWeights`]) say which tokens of a sample are kept, which of its
//! positions are learnt and what they weigh. They are plain functions of lengths, stored distributions, epoch and seed; a choice by
//! the student's own distribution is made after its forward pass.
//!
//! # Adapters
//!
//! With `student.lora` the weights of the student stay as they are, and it learns low-rank adapters (arXiv 2106.09685) alone. Only
//! these have gradients, moments and masters, and are in checkpoints. The backward pass leaves out the gradients of all other
//! weights. What is exported is an adapter in the layout of PEFT, or a whole student with the adapters merged into it.
//!
//! # Operations
//!
//! `training_flops` in metrics and summary counts the additions and multiplications of the products of the batches that were
//! trained on: the forward pass as [`ForwardFlops`](leadspan_model::ForwardFlops) counts it, and twice that for the backward
//! pass. It leaves out what activation checkpointing computes again and what validation samples cost. With `max_flops` no step
//! begins once the count is reached. The number of steps then follows from the lengths in the prepared corpus, so the learning
//! rate's schedule ends with the last of them. `cache_bytes_read` counts the bytes of the blocks that were read for the same
//! batches, as they are stored.
//!
//! # Interruptions
//!
//! A checkpoint holds the weights (the masters, if parameters are in bf16), the optimizer's moments and the run's progress.
//! The order of samples and their lead spans follow from the progress, and nothing else is random. A checkpoint exists once
//! its receipt exists, which has its checksum; a damaged one is skipped in favour of the one before. Lines of the metrics
//! beyond the checkpoint are cut off before the run continues. A run that was killed at any moment therefore ends with the
//! same bits of weights and the same metrics, except for times and memory, as an uninterrupted one on the same kind of
//! processor. A folder that belongs to another run is refused: the checkpoint says what its run depends on.
//!
//! The newest `keep_checkpoints` are kept, and that of the epoch with the lowest held-out loss, (1 − α)·CE + α·KL. A finished
//! run keeps only the latter, unless it is what was exported.
//!
//! # Several processes
//!
//! [`parallel`] trains one student in several processes, which share the samples of every step.
//!
//! # Memory
//!
//! Besides parameters, gradients and moments, the peak is linear in the tokens of a pass. Each token takes 8·H + 3·K + 3·I
//! numbers per layer (hidden, key and feed-forward width; queries as wide as hidden states), plus half a layer's for gradients
//! in flight; with `recompute_gates` it takes 2·I fewer per layer, and with activation checkpointing H per layer and two and a
//! half layers' in all. Of the vocabulary there is one chunk of logits. `tests/memory.rs` holds the peak to that, and
//! `tests/threads.rs` holds any number of threads to the same bits. Speeds are in `docs/benchmarks.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batches;
mod checkpoint;
mod checkpoint_hint;
mod checkpoints;
mod comparison;
mod context;
mod error;
mod event;
mod exported;
mod flops;
pub mod gradients;
mod held_out;
mod learnt_span;
mod metrics;
mod micro_batch;
pub mod objective;
mod optimizer;
mod order;
pub mod parallel;
#[cfg(test)]
mod parity;
mod policies;
mod read_ahead;
mod readers;
mod replay;
mod resumption;
mod run;
mod run_dir;
mod run_identity;
mod run_inputs;
mod run_progress;
mod run_summary;
mod schedule;
mod settings;
mod student;
mod tensorboard;
mod training;
mod training_steps;
mod weights;

pub use context::RunContext;
pub use error::TrainError;
pub use event::Event;
pub use held_out::{HeldOut, held_out_losses};
pub use metrics::{ReplayMetrics, StepMetrics};
pub use micro_batch::MicroBatch;
pub use objective::{Loss, TailPolicy};
pub use optimizer::{AdamW, AdamWSettings};
pub use policies::{LeadSpan, PolicyError, PositionWeights, Positions};
pub use run::run;
pub use run_identity::first_difference;
pub use run_summary::{RunSummary, TrainingOutcome};
pub use schedule::{Schedule, ScheduleForm};
pub use settings::{Export, Normalization, StudentSettings, TrainSettings};
