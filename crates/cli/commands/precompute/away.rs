//! `precompute --push`: each work unit is copied into a store once it is committed, while the next one is captured.
//!
//! A failure of the store costs no work: it is a warning, and every later work unit is another try. Only what is known at once
//! to go nowhere, such as a store with another cache, stops the capture.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{Scope, ScopedJoinHandle},
};

use leadspan_cache::{CacheError, Difference, Elsewhere};
use leadspan_diagnosis::Diagnosis;
use leadspan_precompute::{Event, Pipeline};
use leadspan_stores::{Address, Opened, Outcome, Pushing, StoreError};

use crate::{
    amounts::counted,
    commands::Showing,
    failure::{Context as _, Result},
    stores::{self, CopiedCache, Copying},
};

/// How many files are copied at a time: the capture needs the processors.
const PARALLEL: NonZeroUsize = NonZeroUsize::new(8).expect("it is not 0");

/// Copies from a store, telling what happens meanwhile.
type Fetch<'a, T> =
    dyn Fn(&mut dyn FnMut(leadspan_stores::Event)) -> std::result::Result<(Outcome, T), StoreError> + 'a;

/// A store that has the cache of another pipeline.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cache in `{url}` was made with {} `{}`, but `{}` is asked for",
    difference.field, difference.stored, difference.asked
)]
struct OtherCache {
    url: String,
    difference: Difference,
}

impl Diagnosis for OtherCache {
    fn hint(&self) -> Option<String> {
        Some("give `--push` another folder of the store, or use what that cache was made with".to_owned())
    }
}

/// A store, and the cache's folder here.
pub(super) struct Away {
    address: Address,
    opened: Opened,
    dir: PathBuf,
    showing: Showing,
}

impl Away {
    pub(super) fn open(url: &str, dir: &Path, showing: Showing) -> Result<Self> {
        let (address, opened) = stores::open(url, PARALLEL).with_context(|| "could not open the store".to_owned())?;
        Ok(Self {
            address,
            opened,
            dir: dir.to_owned(),
            showing,
        })
    }

    /// Refuses a store with a cache that was made with something else than the pipeline names, before anything is copied.
    pub(super) fn require_same(&self, pipeline: &Pipeline) -> Result<()> {
        let attempt = || format!("could not go on with the cache in `{}`", self.address);
        let Some(stored) = leadspan_stores::stored_identity(&self.opened).with_context(attempt)? else {
            return Ok(());
        };
        if stored
            .teacher
            .as_ref()
            .is_some_and(|teacher| teacher.imported.is_some())
        {
            let path = PathBuf::from(self.address.to_string());
            return Err(CacheError::Imported { path }).with_context(attempt);
        }
        match leadspan_precompute::difference_from(pipeline, &stored).with_context(attempt)? {
            None => Ok(()),
            Some(difference) => Err(OtherCache {
                url: self.address.to_string(),
                difference,
            }
            .into()),
        }
    }

    /// Copies what the store has into the cache's folder. Work units that are damaged there are captured again.
    pub(super) fn fetch(&self) -> Result<()> {
        self.fetching("pulling", &|events| {
            let pulled = leadspan_stores::pull(&self.opened, &self.dir, &AtomicBool::new(false), events)?;
            Ok((pulled, ()))
        })
    }

    /// Copies what every worker needs into the cache's folder. Returns the work units that the store has, which are neither copied
    /// nor captured.
    pub(super) fn fetch_base(&self) -> Result<Elsewhere> {
        let stored = self.fetching("pulling what describes the cache", &|events| {
            leadspan_stores::pull_base(&self.opened, &self.dir, &AtomicBool::new(false), events)
        })?;
        if stored.units() > 0 {
            let units = counted(stored.units() as u64, "work unit");
            tracing::info!("`{}` has {units} already, which are not fetched", self.address);
        }
        Ok(stored)
    }

    /// Copies from the store, unless it has no cache yet.
    fn fetching<T: Default>(&self, what: &'static str, copy: &Fetch<'_, T>) -> Result<T> {
        let attempt = || format!("could not pull `{}` into `{}`", self.address, self.dir.display());
        if !Pushing::begin(&self.opened, &self.dir)
            .with_context(attempt)?
            .has_cache()
        {
            tracing::info!("`{}` has no cache yet", self.address);
            return Ok(T::default());
        }
        let mut copying = Copying::new(self.showing.progress, what);
        let (outcome, fetched) = copy(&mut |event| copying.show(event)).with_context(attempt)?;
        if let Outcome::Done(summary) = outcome {
            let took = copying.end();
            for problem in &summary.problems {
                tracing::warn!("a work unit of the store is not used: {problem}");
            }
            tracing::info!("{}", CopiedCache::new(&summary, &self.dir, &self.address, false, took));
        }
        Ok(fetched)
    }

    /// Copies everything that is left, with the inventory of a complete cache. Returns whether it was told to stop.
    pub(super) fn finish(&self, stop: &AtomicBool) -> Result<bool> {
        let attempt = || {
            format!(
                "the work is kept in `{}`, and could not be pushed to `{}`",
                self.dir.display(),
                self.address
            )
        };
        let mut copying = Copying::new(self.showing.progress, "pushing");
        let outcome = leadspan_stores::push(&self.opened, &self.dir, stop, &mut |event| copying.show(event));
        match outcome.with_context(attempt)? {
            Outcome::Stopped => Ok(true),
            Outcome::Done(summary) => {
                let took = copying.end();
                tracing::info!("{}", CopiedCache::new(&summary, &self.dir, &self.address, true, took));
                Ok(false)
            }
        }
    }

    /// Begins to copy on a thread of its own. `stop` is set if the store refuses the first copy.
    pub(super) fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stop: &Arc<AtomicBool>,
    ) -> Carrying<'scope> {
        let (poke, poked) = mpsc::channel();
        let refused: Arc<Mutex<Option<StoreError>>> = Arc::default();
        let (stop, noted) = (Arc::clone(stop), Arc::clone(&refused));
        let thread = scope.spawn(move || {
            if let Some(refusal) = self.carry(&poked) {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
                stop.store(true, Ordering::Relaxed);
            }
        });
        Carrying { poke, thread, refused }
    }

    /// Copies what is committed each time that it is poked. Returns the refusal of the first copy.
    fn carry(&self, poked: &Receiver<()>) -> Option<StoreError> {
        let never = AtomicBool::new(false);
        let mut pushing: Option<Pushing> = None;
        let mut is_first = true;
        while poked.recv().is_ok() {
            // One look is enough for all that was committed meanwhile.
            while poked.try_recv().is_ok() {}
            let copied = match &mut pushing {
                Some(pushing) => pushing.committed(&never, &mut |_| {}),
                none => Pushing::begin(&self.opened, &self.dir)
                    .and_then(|begun| none.insert(begun).committed(&never, &mut |_| {})),
            };
            match copied {
                Ok(_) => {}
                Err(error) if is_first && !error.is_unexpected() => return Some(error),
                Err(error) => tracing::warn!(
                    "could not push to `{}` yet: {error}; the next work unit is another try",
                    self.address
                ),
            }
            is_first = false;
        }
        None
    }
}

/// The thread that copies.
pub(super) struct Carrying<'scope> {
    poke: Sender<()>,
    thread: ScopedJoinHandle<'scope, ()>,
    refused: Arc<Mutex<Option<StoreError>>>,
}

impl Carrying<'_> {
    /// Notes an event of the capture.
    pub(super) fn note(&self, event: &Event) {
        if matches!(event, Event::Prepared { .. } | Event::UnitCommitted { .. }) {
            // If the thread has ended, the capture is being stopped.
            let _ = self.poke.send(());
        }
    }

    /// Waits until everything that was committed is copied, or could not be copied. Returns the refusal that stopped the capture.
    pub(super) fn end(self) -> Option<StoreError> {
        drop(self.poke);
        // A panic was shown by its hook; what is not copied is copied at the end.
        let _ = self.thread.join();
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
