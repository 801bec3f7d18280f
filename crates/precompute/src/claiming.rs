//! Claims to work units, for workers that share more than a fixed division: taken one by one, kept while the teacher gets
//! on, let go when the shard is there.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use leadspan_cache::{LayerDir, WorkUnit};
use leadspan_files::FileError;
use leadspan_workers::{Attempt, Claim, Claims};

/// So that a file server that stands still for most of a lease takes nobody's unit away.
const RENEWALS_A_LEASE: u32 = 6;

/// The claims of one worker.
pub(crate) struct Claiming {
    claims: Claims,
    held: Mutex<Vec<(WorkUnit, Claim)>>,
    /// Batches that have gone through the teacher.
    batches: AtomicU64,
}

impl Claiming {
    pub(crate) fn new(cache: &Path, lease: Duration) -> Result<Self, FileError> {
        Ok(Self {
            claims: Claims::new(cache, lease)?,
            held: Mutex::default(),
            batches: AtomicU64::new(0),
        })
    }

    /// A number that no other worker has.
    pub(crate) fn number(&self) -> u64 {
        self.claims.number()
    }

    /// Claims a unit; tells whether nobody else holds it.
    pub(crate) fn take(&self, layer: &LayerDir, unit: &WorkUnit) -> Result<bool, FileError> {
        match self
            .claims
            .attempt_unit(&layer.layer().folder_name(), &unit.to_string())?
        {
            Attempt::Claimed(claim) => {
                self.held().push((unit.clone(), claim));
                Ok(true)
            }
            Attempt::Held(_) => Ok(false),
        }
    }

    /// Lets a unit go.
    pub(crate) fn release(&self, unit: &WorkUnit) {
        self.held().retain(|(held, _)| held != unit);
    }

    /// A batch has gone through the teacher.
    pub(crate) fn advance(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Renews what is held until `ended` is closed, as long as batches go through: one that stands still loses its units as
    /// one does that has died.
    pub(crate) fn keep(&self, ended: &Receiver<()>) {
        let mut seen = self.batches.load(Ordering::Relaxed);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(self.claims.lease() / RENEWALS_A_LEASE) {
            let batches = self.batches.load(Ordering::Relaxed);
            if batches != seen {
                seen = batches;
                for (_, claim) in &*self.held() {
                    // One that is lost, or that the file server will not renew, costs that another does the same.
                    let _ = claim.renew();
                }
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<(WorkUnit, Claim)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
