//! The locks on a folder, one for each [`Purpose`]: a [claim](crate::Claims) that is renewed as long as the process lives.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use leadspan_files::FileError;

use crate::claims::{Attempt, Claim, Claims, Holder, Renewal, path_of};

/// How long others wait for a process that died on another machine. Preparing may take longer, since the lock is renewed.
pub(crate) const LEASE: Duration = Duration::from_mins(2);
/// Renewals for each lease, so that no lock is lost when a file server hangs for a minute.
const RENEWALS_A_LEASE: u32 = 6;

/// What a folder is locked for. Locks for different purposes do not keep each other out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To create a cache, or to prepare or extend its corpus, which may take hours.
    Preparing,
    /// To add a layer to a cache.
    AddingALayer,
    /// To change the inventory of a cache.
    TakingInventory,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Preparing, Self::AddingALayer, Self::TakingInventory];

    /// The name of the claim.
    fn claim(self) -> &'static str {
        match self {
            Self::Preparing => "prepare",
            Self::AddingALayer => "layer",
            Self::TakingInventory => "inventory",
        }
    }
}

/// A process that holds a lock which this process waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The process.
    pub holder: Holder,
    /// What it holds the lock for.
    pub purpose: Purpose,
    /// The claim by which it holds the lock.
    pub claim: PathBuf,
}

impl Awaited {
    fn new(holder: Holder, purpose: Purpose, dir: &Path) -> Self {
        let claim = path_of(dir, purpose.claim());
        Self { holder, purpose, claim }
    }
}

impl fmt::Display for Awaited {
    /// Such as ``process 4711 on node7, which prepares this cache (`cache/.claims/prepare`)``.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let does = match self.purpose {
            Purpose::Preparing => "prepares this cache",
            Purpose::AddingALayer => "adds a layer to this cache",
            Purpose::TakingInventory => "takes the inventory of this cache",
        };
        write!(formatter, "{}, which {does} (`{}`)", self.holder, self.claim.display())
    }
}

/// Keeps other processes from the same purpose until it is dropped or its process ends.
#[derive(Debug)]
pub struct LockGuard {
    /// The thread that renews it holds it, too.
    claim: Arc<Claim>,
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl LockGuard {
    /// Renews a claim as long as the guard lives.
    pub(crate) fn keep(claim: Claim, dir: &Path) -> Result<Self, FileError> {
        let (stop, stopped) = mpsc::channel();
        let claim = Arc::new(claim);
        let renewed = Arc::clone(&claim);
        let renewing = thread::Builder::new().name("lock".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LEASE / RENEWALS_A_LEASE) {
                // If the file server does not answer now, it may answer the next time.
                if is_lost(&renewed) {
                    break;
                }
            }
        });
        Ok(Self {
            claim,
            stop: Some(stop),
            renewing: Some(renewing.map_err(FileError::io("keep locked", dir))?),
        })
    }

    /// Whether the thread that renews it has ended: it found another process's claim, some time after the fact.
    pub(crate) fn was_lost(&self) -> bool {
        self.renewing.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Whether another process has taken the claim over. Renews it, so a process that was suspended learns it at once.
    pub(crate) fn is_lost(&self) -> bool {
        is_lost(&self.claim)
    }
}

/// Whether a claim cannot be renewed because it is another's or gone. A file server that does not answer has lost nothing.
fn is_lost(claim: &Claim) -> bool {
    claim.renew().is_ok_and(|renewal| renewal == Renewal::Lost)
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(renewing) = self.renewing.take() {
            // The thread does not panic. If it did, nothing could be done about it. The claim is dropped after this.
            let _ = renewing.join();
        }
    }
}

/// The result of asking for the lock.
#[derive(Debug)]
pub enum Lock {
    /// This process holds it now.
    Locked(LockGuard),
    /// Another process holds it.
    Held(Awaited),
}

/// Locks the folder `dir` for `purpose` unless another process has locked it for the same.
///
/// # Errors
///
/// If the folder cannot be written to.
pub fn try_lock(dir: &Path, purpose: Purpose) -> Result<Lock, FileError> {
    Ok(match Claims::new(dir, LEASE)?.attempt(purpose.claim())? {
        Attempt::Claimed(claim) => Lock::Locked(LockGuard::keep(claim, dir)?),
        Attempt::Held(holder) => Lock::Held(Awaited::new(holder, purpose, dir)),
    })
}

/// Waits until no other process has locked the folder `dir` for `purpose`, then locks it. Calls `waiting` with the holder before
/// each pause.
///
/// # Errors
///
/// If the folder cannot be written to.
pub fn lock(dir: &Path, purpose: Purpose, waiting: &mut dyn FnMut(&Awaited)) -> Result<LockGuard, FileError> {
    let claim = Claims::new(dir, LEASE)?.wait_for(purpose.claim(), &mut |holder| {
        waiting(&Awaited::new(holder.clone(), purpose, dir));
    })?;
    LockGuard::keep(claim, dir)
}

/// Removes the locks of processes that are known to be dead.
pub fn remove_dead_locks(dir: &Path) {
    for name in Purpose::ALL.map(Purpose::claim) {
        // Claims the lock and drops it at once. If that fails, the lock stays, which is harmless.
        let _ = Claims::new(dir, LEASE).map(|claims| claims.is_claimed(name).then(|| claims.attempt(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_again_once_its_guard_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let preparing = || try_lock(folder.path(), Purpose::Preparing).unwrap();
        let guard = lock(folder.path(), Purpose::Preparing, &mut |_| {
            panic!("no process holds it")
        })
        .unwrap();
        assert!(matches!(preparing(), Lock::Held(awaited) if awaited.holder.process == std::process::id()));
        let (waited, waiting) = mpsc::channel();
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let guard = lock(folder.path(), Purpose::Preparing, &mut |awaited| {
                    waited.send(awaited.clone()).unwrap();
                });
                drop(guard.unwrap());
            });
            let awaited = waiting.recv().unwrap();
            assert_eq!(awaited.claim, folder.path().join(".claims/prepare"));
            drop(guard);
            second.join().unwrap();
        });
        assert!(matches!(preparing(), Lock::Locked(_)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_keeps_out_only_those_with_the_same_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let take = |purpose| match try_lock(folder.path(), purpose).unwrap() {
            Lock::Locked(guard) => guard,
            Lock::Held(awaited) => panic!("{awaited}"),
        };
        let guards = Purpose::ALL.map(take);
        for purpose in Purpose::ALL {
            let Lock::Held(awaited) = try_lock(folder.path(), purpose).unwrap() else {
                panic!("two hold it")
            };
            assert!(awaited.claim.exists() && awaited.purpose == purpose, "{awaited}");
            assert!(
                awaited.to_string().contains(awaited.claim.to_str().unwrap()),
                "{awaited}"
            );
        }
        drop(guards);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
