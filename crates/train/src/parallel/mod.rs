//! Several processes that train one student together.
//!
//! Every process plans the same steps. It reads and computes its share of a step's samples, the gradients of all processes
//! are added up in the order of the processes, and each makes the same update. So a step's samples, its learning rate, its
//! losses and the norm that is clipped are those of one process that does everything. The same number of processes gives the
//! same bits; another number adds in another order, and gives other roundings, which later steps may magnify.
//!
//! The first process alone has the run's folder: it takes the lock, writes metrics, checkpoints and the student, and names the
//! checkpoint from which all resume.
//!
//! A stop and a failure are told to all. Processes agree on a stop once a step, so that all end after the same one. Whatever can
//! fail happens between exchanges: a process that fails says so at the next one, and then all end. The launcher ends the others of
//! a process that was killed.

mod drift;
mod error;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
#[cfg(not(feature = "nccl"))]
#[path = "without_nccl.rs"]
mod nccl;
mod processes;
pub(crate) mod share;
pub(crate) mod start;
pub(crate) mod step_totals;
pub(crate) mod sum;
pub(crate) mod team;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod threads;

pub(crate) use self::drift::digest;
pub use self::error::ParallelError;
#[cfg(feature = "mpi")]
pub use self::mpi::Mpi;
pub(crate) use self::nccl::Gpus;
pub use self::processes::{Alone, MESSAGE_WORDS, Message, Processes};
pub use self::start::{Refusal, agree_to_begin};
