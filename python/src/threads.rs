//! The threads that read, without the interpreter's lock.
//!
//! They are those of this process: the global threads of `rayon` do not survive a fork, as of a worker of a data loader, and
//! whoever waits for them there waits for ever.

use std::{
    mem, process,
    sync::{Arc, Mutex, PoisonError},
};

use pyo3::{PyResult, Python};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::errors;

/// More threads than this are never started.
const MOST_THREADS: usize = 1024;

static POOLS: Mutex<Pools> = Mutex::new(Pools {
    process: 0,
    pools: Vec::new(),
});

/// The threads of one process.
struct Pools {
    process: u32,
    /// Each with its number of threads.
    pools: Vec<(usize, Arc<ThreadPool>)>,
}

/// Does `work` without the interpreter's lock on one of `count` threads, which share what it does in parallel. 0 stands for a
/// thread for each processor.
///
/// # Errors
///
/// If the threads cannot be started.
pub(crate) fn run<T: Send>(py: Python<'_>, count: usize, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| Ok(pool(count)?.install(work)))
        .map_err(|error: ThreadPoolBuildError| errors::system(py, &error.to_string()))
}

fn pool(count: usize) -> Result<Arc<ThreadPool>, ThreadPoolBuildError> {
    let count = count.min(MOST_THREADS);
    let mut held = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if held.process != process::id() {
        held.process = process::id();
        // In a forked process these are pools without threads, which cannot be ended.
        mem::forget(mem::take(&mut held.pools));
    }
    if let Some((_, pool)) = held.pools.iter().find(|(threads, _)| *threads == count) {
        return Ok(Arc::clone(pool));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|number| format!("leadspan-{number}"))
        .build()?;
    let pool = Arc::new(pool);
    held.pools.push((count, Arc::clone(&pool)));
    Ok(pool)
}
