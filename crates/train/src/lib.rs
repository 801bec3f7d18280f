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
//! One step of 8 samples of smollm2-gsm (some 1,650 tokens) on a virtual machine with 2 cores (AMD EPYC, AVX-512), ours and
//! `PyTorch` 2.11's in turn (`--example train_step` and `tests/compare/train_step.py`, sdpa attention; two rounds of 4 steps
//! for the first shape, one of 2 for the second). The floor is what the step's matrix products would take at the rate of one
//! large product, 200 to 212 GFLOP/s on that day:
//!
//! | | tokens/s | `PyTorch` | ratio | peak memory | `PyTorch` | of the floor's rate |
//! |---|---|---|---|---|---|---|
//! | six layers of SmolLM2-135M | 530, 516 | 333, 323 | 1.6 | 1.48, 1.44 GB | 4.41, 4.60 GB | 77 % |
//! | four layers of Qwen3-0.6B, vocabulary 151,936 | 116 | 63 | 1.8 | 4.57 GB | 11.6 GB | 74 % |
//!
//! Of the first step 51 % is head and loss, 33 % the way back through the layers, 14 % the way forward, 2 % the optimizer.
//! With half of every sample the step takes 0.52 of its time, at 0.49 of the operations; with the chain of thought alone, 45 %
//! of the positions, the head takes 0.44 of its time and the step 0.67.
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
