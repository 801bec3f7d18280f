//! What the program gives a run: a stop flag, a clock, the process's memory, and what to do about missing units.

use std::{sync::atomic::AtomicBool, time::Duration};

use leadspan_cache::Missing;
use serde_json::Value;

use crate::parallel::Processes;

/// What the program gives a run that it starts.
pub struct RunContext<'a> {
    /// Set by the program to stop the run; the run reads it before each layer of a pass.
    pub stop: &'a AtomicBool,
    /// Time since some fixed moment.
    pub clock: &'a dyn Fn() -> Duration,
    /// Time since 1970, for the stamps of TensorBoard's events.
    pub time_of_day: &'a dyn Fn() -> Duration,
    /// The process's peak resident memory.
    pub peak_memory_bytes: &'a dyn Fn() -> u64,
    /// The whole configuration, stored beside the results.
    pub resolved_config: &'a Value,
    /// The tokenizer's files for the exported student, by name.
    pub tokenizer_files: &'a [(String, Vec<u8>)],
    /// Whether to train on a cache from which work units are missing.
    pub missing: Missing,
    /// The processes that train this student together; [`Alone`](crate::parallel::Alone) for one.
    pub processes: &'a dyn Processes,
}
