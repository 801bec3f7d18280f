//! The process's memory: blocks that are kept for reuse, and how much is in use.
//!
//! Tensors live for part of a step, and others of nearly the same size follow. By default the system's allocator returns
//! large blocks to the kernel when they are freed, and the next step waits while the kernel clears the same pages again.
//! [`keep_freed_blocks`] tells it to keep them. `docs/benchmarks.md` compares this with other allocators.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod available;
mod counting;
mod resident;
mod reuse;

pub use available::available_memory_bytes;
pub use counting::Counting;
pub use resident::{memory_bytes, peak_memory_bytes};
pub use reuse::keep_freed_blocks;
