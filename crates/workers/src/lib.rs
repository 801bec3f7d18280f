//! Workers: processes that fill the same folder together, on one machine or many.
//!
//! The [scheduler]'s environment says which [`Worker`] a process is, and [`UnitCosts`] divides the work units among workers.
//! [`Claims`], the [lock](LockGuard) made of one, and the [`FolderLock`] of a run keep processes out of each other's way. A
//! [`Heartbeat`] tells others that a worker is alive.
//!
//! No stored byte depends on claims, locks and heartbeats. Nothing here reads the environment.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod claims;
mod folder_lock;
mod heartbeats;
mod lock;
pub mod scheduler;
mod shares;
mod worker;

pub use claims::{Attempt, Claim, Claims, Holder, Pauses, Renewal, remove_dead_claims};
pub use folder_lock::{FolderLock, LockedFolder};
pub use heartbeats::{
    Heard, Heartbeat, Signs, WorkerState, heartbeats, remove_dead_heartbeats, remove_heartbeats, signs,
};
pub use lock::{Awaited, Lock, LockGuard, Purpose, lock, remove_dead_locks, try_lock};
pub use shares::UnitCosts;
pub use worker::{InvalidWorker, Worker};
