//! Claims to work units, for workers that take units one by one: claimed before capturing, renewed while batches go through
//! the teacher, released when the shard is committed.

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
use leadspan_workers::{Attempt, Claim, Claims, Holder};

/// Renewals in one lease: enough that a file server may hang for most of a lease without costing a worker its unit.
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

    /// A number that differs between workers.
    pub(crate) fn number(&self) -> u64 {
        self.claims.number()
    }

    /// Claims a unit, unless another worker holds it, which is then returned.
    pub(crate) fn take(&self, layer: &LayerDir, unit: &WorkUnit) -> Result<Option<Holder>, FileError> {
        match self
            .claims
            .attempt_unit(&layer.layer().folder_name(), &unit.to_string())?
        {
            Attempt::Claimed(claim) => {
                self.held().push((unit.clone(), claim));
                Ok(None)
            }
            Attempt::Held(holder) => Ok(Some(holder)),
        }
    }

    /// Releases a unit.
    pub(crate) fn release(&self, unit: &WorkUnit) {
        self.held().retain(|(held, _)| held != unit);
    }

    /// Counts a batch that has gone through the teacher.
    pub(crate) fn advance(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Renews the held claims until `ended` is closed, as long as batches go through the teacher. A worker that hangs loses
    /// its units like one that has died.
    pub(crate) fn keep(&self, ended: &Receiver<()>) {
        let mut seen = self.batches.load(Ordering::Relaxed);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(self.claims.lease() / RENEWALS_A_LEASE) {
            let batches = self.batches.load(Ordering::Relaxed);
            if batches != seen {
                seen = batches;
                for (_, claim) in &*self.held() {
                    // If a claim is lost or cannot be renewed, another worker may do the same unit, which does no harm.
                    let _ = claim.renew();
                }
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<(WorkUnit, Claim)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
