//! The heartbeat of a worker that fills a cache: a thread writes it every few seconds.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use leadspan_cache::Cache;
use leadspan_workers::{Heartbeat, WorkerState, remove_heartbeats};

use crate::{last_line, signals};

/// The time between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(5);

/// A worker without a heartbeat for longer than this has stalled. It has then missed twelve.
pub(crate) const SILENCE: Duration = Duration::from_mins(1);

/// Writes heartbeats until it is ended. Dropping it without ending it counts as a failure of the worker.
pub(crate) struct Beating {
    shared: Arc<Shared>,
    /// Dropping it ends the thread.
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    cache_dir: PathBuf,
    said: Mutex<Said>,
}

struct Said {
    heartbeat: Heartbeat,
    /// When the teacher was loaded.
    capturing_since: Option<Instant>,
    /// When the last batch was finished.
    last_batch: Instant,
}

impl Shared {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the heartbeat. A worker that cannot write it continues its work.
    fn write(&self) {
        let mut said = self.said();
        said.heartbeat.memory_bytes = leadspan_memory::memory_bytes();
        said.heartbeat.quiet_seconds = said.last_batch.elapsed().as_secs_f64();
        if let Some(since) = said.capturing_since {
            let seconds = since.elapsed().as_secs_f64().max(1e-3);
            said.heartbeat.tokens_per_second = said.heartbeat.tokens as f64 / seconds;
        }
        if let Err(error) = said.heartbeat.write(&self.cache_dir) {
            tracing::debug!("could not write the heartbeat: {error}");
        }
    }

    fn end(&self, state: WorkerState) {
        self.said().heartbeat.state = state;
        self.write();
    }
}

/// Removes the heartbeats of all workers, also of killed ones, if nothing is left to do in the cache.
pub(crate) fn remove_from_complete(cache_dir: &Path) {
    let is_complete = || -> Result<bool, leadspan_cache::CacheError> {
        for layer in Cache::open(cache_dir)?.layers()? {
            if !layer.missing_units()?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if is_complete().unwrap_or(false) {
        remove_heartbeats(cache_dir);
    }
}

impl Beating {
    /// Begins for a worker that has to commit `units` work units.
    pub(crate) fn start(cache_dir: PathBuf, worker: String, units: u64) -> Self {
        let heartbeat = Heartbeat {
            worker,
            host: last_line::host(),
            pid: std::process::id(),
            units,
            ..Heartbeat::default()
        };
        let said = Mutex::new(Said {
            heartbeat,
            capturing_since: None,
            last_batch: Instant::now(),
        });
        let shared = Arc::new(Shared { cache_dir, said });
        let (wake, woken) = mpsc::channel();
        let thread = thread::Builder::new().name("heartbeat".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || loop {
                shared.write();
                if woken.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        });
        signals::at_the_end(Some(Box::new({
            let shared = Arc::clone(&shared);
            move || shared.end(WorkerState::Stopped)
        })));
        Self {
            shared,
            wake: Some(wake),
            thread: thread.ok(),
        }
    }

    /// Reports that the teacher is loaded.
    pub(crate) fn loaded(&self) {
        let mut said = self.shared.said();
        said.heartbeat.state = WorkerState::Capturing;
        said.capturing_since = Some(Instant::now());
        said.last_batch = Instant::now();
    }

    /// Reports that a batch of `unit` is done.
    pub(crate) fn batch(&self, unit: String, samples: u64, tokens: u64) {
        let mut said = self.shared.said();
        said.heartbeat.unit = Some(unit);
        said.heartbeat.samples += samples;
        said.heartbeat.tokens += tokens;
        said.last_batch = Instant::now();
    }

    /// Reports that `done` of `all` units are committed.
    pub(crate) fn units(&self, done: u64, all: u64) {
        let mut said = self.shared.said();
        said.heartbeat.units_done = done;
        said.heartbeat.units = all;
    }

    /// Writes the last heartbeat, with the state in which the worker ended.
    pub(crate) fn end(mut self, state: WorkerState) {
        self.finish(state);
    }

    fn finish(&mut self, state: WorkerState) {
        if self.wake.take().is_none() {
            return;
        }
        signals::at_the_end(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.end(state);
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.finish(WorkerState::Failed);
    }
}
