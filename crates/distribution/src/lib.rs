//! The teacher's next-token distribution at a position: its most probable tokens, and the probability of all others.
//!
//! [`top_k`] reduces rows of logits to [`Distributions`]: for each position the k most probable tokens with their
//! log-probabilities, the log of the probability outside them (the tail mass), and the log-probability of the token that
//! really follows. Log-probabilities are natural logarithms of the softmax over the model's whole logits row, at
//! temperature 1. Everything is a plain function of its arguments: no I/O, no tensor library.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod codec;
mod distributions;
mod found;
mod select;
mod settings;
mod tail;
mod top_k;

pub use distributions::{Distributions, Position};
pub use found::{Found, collect_found, push_found};
pub use settings::{EntrySettings, InvalidEntrySettings};
pub use top_k::{NonFiniteLogit, Row, reduce, top_k};

/// The lowest stored tail log-mass, in nats, unless the entries are the whole vocabulary.
///
/// exp(−30) is about 1e-13, far below what f32 logits resolve; the clamp keeps log-masses finite.
pub const MIN_TAIL_LOGPROB: f32 = -30.0;
