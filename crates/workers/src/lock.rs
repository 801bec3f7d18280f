//! The lock of whoever makes, prepares or extends what is in a folder: a [claim](crate::Claims) that is renewed for as long as its
//! process lives.

use std::{
    path::Path,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use leadspan_files::FileError;

use crate::claims::{Attempt, Claim, Claims, Holder, Renewal};

/// How long a process of another machine that died keeps others waiting. Preparing takes longer; its lock is renewed.
const LEASE: Duration = Duration::from_mins(2);
/// So that a file server that stands still for a minute takes nobody's lock away.
const RENEWALS_A_LEASE: u32 = 6;
const NAME: &str = "prepare";

/// Keeps other processes from preparing the same cache until it is dropped (or its process ends).
#[derive(Debug)]
pub struct LockGuard {
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl LockGuard {
    fn keep(claim: Claim, dir: &Path) -> Result<Self, FileError> {
        let (stop, stopped) = mpsc::channel();
        let renewing = thread::Builder::new().name("lock".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LEASE / RENEWALS_A_LEASE) {
                // A file server that does not answer now may do so the next time.
                if claim.renew().is_ok_and(|renewal| renewal == Renewal::Lost) {
                    break;
                }
            }
            // Claim and lock go here.
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
            // It has nothing to panic about, and there is nothing to be done if it did.
            let _ = renewing.join();
        }
    }
}

/// What asking for the lock comes to.
#[derive(Debug)]
pub enum Lock {
    /// It is ours.
    Locked(LockGuard),
    /// This process prepares.
    Held(Holder),
}

/// Locks the folder `dir` unless another process does so.
///
/// # Errors
///
/// Fails if the folder cannot be written to.
pub fn try_lock(dir: &Path) -> Result<Lock, FileError> {
    Ok(match Claims::new(dir, LEASE)?.attempt(NAME)? {
        Attempt::Claimed(claim) => Lock::Locked(LockGuard::keep(claim, dir)?),
        Attempt::Held(holder) => Lock::Held(holder),
    })
}

/// Waits until no other process has locked the folder `dir`, calling `waiting` with its holder now and then.
///
/// # Errors
///
/// Fails if the folder cannot be written to.
pub fn lock(dir: &Path, waiting: &mut dyn FnMut(&Holder)) -> Result<LockGuard, FileError> {
    LockGuard::keep(Claims::new(dir, LEASE)?.wait_for(NAME, waiting)?, dir)
}

/// Removes the lock of a process that is dead, as far as can be told here.
pub fn remove_dead_lock(dir: &Path) {
    // Claimed and let go at once. Where that fails it is harmless and stays.
    let _ = Claims::new(dir, LEASE).map(|claims| claims.is_claimed(NAME).then(|| claims.attempt(NAME)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_again_once_its_guard_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let guard = lock(folder.path(), &mut |_| panic!("nobody holds it")).unwrap();
        assert!(matches!(try_lock(folder.path()).unwrap(), Lock::Held(holder) if holder.process == std::process::id()));
        let (waited, told) = mpsc::channel();
        thread::scope(|scope| {
            let second = scope.spawn(|| drop(lock(folder.path(), &mut |_| waited.send(()).unwrap()).unwrap()));
            told.recv().unwrap();
            drop(guard);
            second.join().unwrap();
        });
        assert!(matches!(try_lock(folder.path()).unwrap(), Lock::Locked(_)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
