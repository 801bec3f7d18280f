//! Stage two: a student learns from the cache.
//!
//! [`run`] streams the cached lead spans into a student and writes it as a Hugging Face directory. It needs the cache
//! and nothing else: not the teacher, not the raw data, not the chat template. The objective is
//! (1 − α)·cross-entropy + α·τ²·divergence on the same positions; see [`objective`].
//!
//! The loop itself is in `training.rs`, what comes before and after it in `run.rs`; plan, batches, schedule, optimizer and
//! objective are plain parts around them. The crate
//! prints nothing and reads no clock: what it needs of its surroundings is handed to it as [`RunContext`].
//!
//! With α = 0 nothing but tokens is needed: the prepared corpus is enough, and no shard is read but for what is held out.
//!
//! Into every step may go samples to replay: complete, all positions supervised, by cross-entropy alone, from a corpus of
//! their own inside the cache. A step's loss is the sum over the positions of both kinds, (1 − α)·CE + α·τ²·D at those that
//! are distilled and CE at the others, each times the position's weight, and the weights of a step sum to one: with `token`
//! normalisation each is one over the positions of both kinds, with `sequence` one over the samples of both kinds and the
//! positions of its own. What is reported of each kind is the mean over its own.
//!
//! # Operations
//!
//! What training takes is counted from the batches that were trained on, in metrics and summary as `training_flops`:
//! additions and multiplications of the products of forward and backward, the forward pass as
//! [`ForwardFlops`](leadspan_model::ForwardFlops) says and the backward pass as twice that. What activation checkpointing
//! computes again is not among them, nor is what is measured on validation samples. With `max_flops` no step begins once the
//! count is there; how many steps that makes follows from the lengths in the prepared corpus, so the learning rate's schedule
//! ends with the last of them. Beside it stands `cache_bytes_read`, the bytes of the blocks that were read for those batches,
//! as they are stored.
//!
//! # Interruptions
//!
//! A checkpoint has the weights (masters, where parameters are in bf16), the optimizer's moments, and how far the run has
//! come; the order of samples follows from that, and nothing else is random. It is there once its receipt is, which has
//! its checksum; one that is damaged is passed over for the one before. Lines of the metrics beyond the checkpoint are cut
//! off before the run goes on. So a run that was killed at any moment ends with the same bits of weights and the same
//! metrics, but for times and memory, as one that was not, on the same kind of processor. What is in the folder of another
//! run is refused: the checkpoint says what its run depends on.
//!
//! The newest `keep_checkpoints` are kept, and that of the epoch with the lowest held-out loss, (1 − α)·CE + α·KL. When the
//! run is done only the last-named is left, unless it is what was exported.
//!
//! # Speed and memory
//!
//! Steps of 8 samples of smollm2-gsm (some 1,650 tokens) on a virtual machine with 2 cores (AMD EPYC, AVX-512), ours and
//! `PyTorch` 2.11's in turn, medians of two rounds: `tests/compare/train_step.sh CACHE EXPORT --rounds 2`. The floor is what
//! a step's matrix products would take at the rate of one large product, which is measured after each run:
//!
//! ```text
//!                             tokens/s   peak MB  s a step  of the floor
//! step, SmolLM2-6                  546      1427      3.06           77%
//! step, SmolLM2-6, PyTorch         304      4461      5.49
//! half of every sample             515      1185      1.61           72%
//! chain of thought only            753      1400      2.12           75%
//! teacher in the loop              275      1972      6.31           38%
//! step, Qwen3-4                    128      4560     13.51           84%
//! step, Qwen3-4, PyTorch            60     11413     29.13
//!
//! SmolLM2-6: 1.80 times PyTorch's tokens/s, 0.32 times its peak memory (medians of 2 rounds)
//! Qwen3-4: 2.16 times PyTorch's tokens/s, 0.40 times its peak memory (medians of 2 rounds)
//! half of every sample: 0.525 of the step, 0.512 of forward and backward, 0.496 of the activations' memory, 0.492 of the operations
//! chain of thought only: 0.461 of the positions, 0.467 of the head's time, 0.694 of the step
//! offline against online: 1.98 times the tokens/s
//! shares of our step: {'teacher': 0.0, 'forward': 0.15, 'head_and_loss': 0.533, 'backward': 0.295, 'optimizer': 0.021}
//! ```
//!
//! Machines drift: in a quieter hour the same step ran at 623 to 627 tokens/s and at 89 % of the floor, beside 324 of `PyTorch`'s.
//! Where the time goes (`perf record`): of the busy cycles 81 % multiply, 7 % pack what is multiplied, 2 % are the products of
//! attention, 1.5 % the loss, 2 % fresh pages, and norms, rotation, gates and the optimizer share the rest; the cores idle 6 to 15 %
//! of the time, waiting for each other.
//!
//! The parts by themselves, `cargo bench -p leadspan-train` on the same kind of machine: 256 rows of 49,152 logits with 64
//! entries through the objective take 41 to 74 ms, whatever the loss and tail policy, and 367 to 592 ms in stock operations
//! (6.1 to 9.8 times as long for the same loss); `AdamW` updates 28 million numbers in 23 ms, and in 70 ms where they are in
//! bf16 with masters in f32.
//!
//! Beside parameters, gradients and moments, the peak is linear in the tokens of a pass: for each token and layer 8·H + 3·K + 3·I
//! numbers (hidden, key and feed-forward width; queries as wide as hidden states), half a layer's more than one layer's for
//! gradients under way, or with activation checkpointing H for each layer and two and a half layers' in all; of the vocabulary
//! one chunk of logits. `tests/memory.rs` holds it to that. `tests/threads.rs`: any number of threads gives the same bits.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batches;
mod checkpoint;
mod checkpoints;
mod context;
mod error;
mod event;
mod flops;
pub mod gradients;
mod held_out;
mod metrics;
mod micro_batch;
pub mod objective;
mod optimizer;
mod order;
#[cfg(test)]
mod parity;
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
mod training;
mod training_steps;
mod weights;

pub use context::RunContext;
pub use error::TrainError;
pub use event::Event;
pub use held_out::{HeldOut, held_out_losses};
pub use metrics::{ReplayMetrics, StepMetrics};
pub use micro_batch::MicroBatch;
pub use optimizer::{AdamW, AdamWSettings};
pub use run::run;
pub use run_identity::first_difference;
pub use run_summary::{Outcome, RunSummary};
pub use schedule::Schedule;
pub use settings::{Export, Loss, Normalization, StudentSettings, TailPolicy, TrainSettings};
