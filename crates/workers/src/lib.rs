//! Processes that share a folder, on one machine or many: which of them a process is, what it has claimed, and what it says
//! of itself.
//!
//! Nothing that is stored depends on any of it. [`Claims`] and the [lock](LockGuard) made of one keep processes out of each
//! other's way; a [`Heartbeat`] tells others that a worker lives.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod claims;
mod heartbeats;
mod lock;
mod worker;

pub use claims::{Attempt, Claim, Claims, Holder, Pauses, Renewal, remove_dead_claims};
pub use heartbeats::{Heard, Heartbeat, WorkerState, heartbeats, remove_heartbeats_of_gone};
pub use lock::{Lock, LockGuard, lock, remove_dead_lock, try_lock};
pub use worker::{InvalidWorker, Worker};
