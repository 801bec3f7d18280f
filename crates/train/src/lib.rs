//! Stage two: a student learns from the cache.
//!
//! [`run`] streams the cached lead spans into a student and writes it as a Hugging Face directory. It needs the cache
//! and nothing else: not the teacher, not the raw data, not the chat template. The objective is
//! (1 − α)·cross-entropy + α·τ²·divergence on the same positions; see [`objective`].
//!
//! The loop itself is in `run.rs`; batches, schedule, optimizer and objective are plain parts around it. The crate
//! prints nothing and reads no clock: what it needs of its surroundings is handed to it as [`Surroundings`].
//!
//! # Speed and memory
//!
//! Steps of 8 samples of smollm2-gsm (some 1,650 tokens) on a virtual machine with 2 cores (AMD EPYC, AVX-512), ours and
//! `PyTorch` 2.11's in turn, medians of two rounds: `tests/compare/train_step.sh CACHE EXPORT --rounds 2`. The floor is what
//! a step's matrix products would take at the rate of one large product, which is measured after each run:
//!
//! ```text
//!                             tokens/s   peak MB  s a step  of the floor
//! step, SmolLM2-6                  541      1474      3.05           81%
//! step, SmolLM2-6, PyTorch         330      4365      5.00
//! half of every sample             510      1220      1.61           72%
//! chain of thought only            700      1425      2.27           73%
//! teacher in the loop              267      2075      6.51           39%
//! step, Qwen3-4                    114      4567     15.23           77%
//! step, Qwen3-4, PyTorch            59     11403     29.63
//!
//! SmolLM2-6: 1.64 times PyTorch's tokens/s, 0.34 times its peak memory (medians of 2 rounds)
//! Qwen3-4: 1.94 times PyTorch's tokens/s, 0.40 times its peak memory (medians of 2 rounds)
//! half of every sample: 0.526 of the step, 0.516 of forward and backward, 0.492 of the operations
//! chain of thought only: 0.453 of the positions, 0.481 of the head's time, 0.743 of the step
//! offline against online: 2.03 times the tokens/s
//! shares of our step: {'teacher': 0.0, 'forward': 0.144, 'head_and_loss': 0.527, 'backward': 0.306, 'optimizer': 0.022}
//! ```
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

pub use batches::MicroBatch;
pub use error::TrainError;
pub use held_out::HeldOut;
pub use metrics::StepMetrics;
pub use optimizer::{AdamW, AdamWSettings};
pub use run::{Event, Outcome, Summary, Surroundings, run};
pub use schedule::Schedule;
pub use settings::{Loss, Normalization, StudentSettings, TailPolicy, TrainSettings};
