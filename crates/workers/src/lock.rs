//! The lock on a folder for the process that creates, prepares or extends its contents: a [claim](crate::Claims) that is renewed
//! as long as the process lives.

use std::{
    path::Path,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use leadspan_files::FileError;

use crate::claims::{Attempt, Claim, Claims, Holder, Renewal};

/// How long others wait for a process that died on another machine. Preparing may take longer, since the lock is renewed.
pub(crate) const LEASE: Duration = Duration::from_mins(2);
/// Renewals for each lease, so that no lock is lost when a file server hangs for a minute.
const RENEWALS_A_LEASE: u32 = 6;
const NAME: &str = "prepare";

/// Keeps other processes from preparing the same cache until it is dropped or its process ends.
#[derive(Debug)]
pub struct LockGuard {
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl LockGuard {
    /// Renews a claim as long as the guard lives.
    pub(crate) fn keep(claim: Claim, dir: &Path) -> Result<Self, FileError> {
        let (stop, stopped) = mpsc::channel();
        let renewing = thread::Builder::new().name("lock".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LEASE / RENEWALS_A_LEASE) {
                // If the file server does not answer now, it may answer the next time.
                if claim.renew().is_ok_and(|renewal| renewal == Renewal::Lost) {
                    break;
                }
            }
            // The claim is dropped here, and with it the lock.
        });
        Ok(Self {
            stop: Some(stop),
            renewing: Some(renewing.map_err(FileError::io("keep locked", dir))?),
        })
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(renewing) = self.renewing.take() {
            // The thread does not panic. If it did, nothing could be done about it.
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
    Held(Holder),
}

/// Locks the folder `dir` unless another process has locked it.
///
/// # Errors
///
/// If the folder cannot be written to.
pub fn try_lock(dir: &Path) -> Result<Lock, FileError> {
    Ok(match Claims::new(dir, LEASE)?.attempt(NAME)? {
        Attempt::Claimed(claim) => Lock::Locked(LockGuard::keep(claim, dir)?),
        Attempt::Held(holder) => Lock::Held(holder),
    })
}

/// Waits until no other process has locked the folder `dir`, then locks it. Calls `waiting` with the holder before each pause.
///
/// # Errors
///
/// If the folder cannot be written to.
pub fn lock(dir: &Path, waiting: &mut dyn FnMut(&Holder)) -> Result<LockGuard, FileError> {
    LockGuard::keep(Claims::new(dir, LEASE)?.wait_for(NAME, waiting)?, dir)
}

/// Removes the lock of a process that is known to be dead.
pub fn remove_dead_lock(dir: &Path) {
    // Claims the lock and drops it at once. If that fails, the lock stays, which is harmless.
    let _ = Claims::new(dir, LEASE).map(|claims| claims.is_claimed(NAME).then(|| claims.attempt(NAME)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_again_once_its_guard_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let guard = lock(folder.path(), &mut |_| panic!("no process holds it")).unwrap();
        assert!(matches!(try_lock(folder.path()).unwrap(), Lock::Held(holder) if holder.process == std::process::id()));
        let (waited, waiting) = mpsc::channel();
        thread::scope(|scope| {
            let second = scope.spawn(|| drop(lock(folder.path(), &mut |_| waited.send(()).unwrap()).unwrap()));
            waiting.recv().unwrap();
            drop(guard);
            second.join().unwrap();
        });
        assert!(matches!(try_lock(folder.path()).unwrap(), Lock::Locked(_)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
