//! The lock on a folder that one process works in from its beginning to its end: a run, an evaluation.
//!
//! It is the lock (`flock`) on the file `.lock`, which the system releases however the process ends. A file system without such
//! locks gets a [claim](crate::Claims) named `run` instead. A claim outlives a killed process by its lease, so whoever finds one
//! waits for that long: the holder may be dead.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::{Duration, Instant},
};

use leadspan_files::{FileError, Locking, open_own, try_lock};

use crate::{
    claims::{Attempt, Claims, Holder, Pauses},
    lock::{LEASE, LockGuard},
};

const FILE: &str = ".lock";
const CLAIM: &str = "run";

/// How long the claim of another process is waited for: its lease, and the longest pause between two looks.
const PATIENCE: Duration = LEASE.saturating_add(Duration::from_secs(5));

/// Keeps other processes out of a folder until it is dropped or its process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    claim: Option<LockGuard>,
}

/// The answer to the wish to lock a folder.
#[derive(Debug)]
pub enum LockedFolder {
    /// This process has it.
    Locked(FolderLock),
    /// Another process works in it, which is known on file systems without locks.
    Held(Option<Holder>),
    /// This process may not write there, and the work is finished: what is there can be read.
    Finished,
}

impl FolderLock {
    /// Creates and locks the folder `dir`. The work in it is finished once it has the file `last`. On a file system without locks,
    /// it waits for another process that may be dead, and calls `waiting` with it before each pause.
    ///
    /// # Errors
    ///
    /// If the folder or `.lock` cannot be made and the work is not finished, or if `.lock` is no regular file.
    pub fn take(dir: &Path, last: &str, waiting: &mut dyn FnMut(&Holder)) -> Result<LockedFolder, FileError> {
        Self::take_within(dir, last, PATIENCE, waiting)
    }

    fn take_within(
        dir: &Path,
        last: &str,
        patience: Duration,
        waiting: &mut dyn FnMut(&Holder),
    ) -> Result<LockedFolder, FileError> {
        fs::create_dir_all(dir).map_err(FileError::io("create", dir))?;
        let path = dir.join(FILE);
        let opened = open_own(&path, File::options().create(true).write(true).truncate(false));
        let file = match opened.map_err(FileError::io("create", &path)) {
            Err(error)
                if matches!(
                    error.source.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) && dir.join(last).is_file() =>
            {
                return Ok(LockedFolder::Finished);
            }
            opened => opened?,
        };
        let claim = match try_lock(&file).map_err(FileError::io("lock", &path))? {
            Locking::Locked => None,
            Locking::Held => return Ok(LockedFolder::Held(None)),
            Locking::Unsupported => match claim_within(dir, patience, waiting)? {
                Attempt::Claimed(claim) => Some(LockGuard::keep(claim, dir)?),
                Attempt::Held(holder) => return Ok(LockedFolder::Held(Some(holder))),
            },
        };
        Ok(LockedFolder::Locked(Self { _file: file, claim }))
    }

    /// Whether another process has taken the folder over, which happens only on file systems without locks: this process was
    /// suspended, or did not reach the file server, for longer than its lease. Ask before each commit: it reads the claim.
    pub fn is_lost(&self) -> bool {
        self.claim.as_ref().is_some_and(LockGuard::is_lost)
    }

    /// Like [`is_lost`](Self::is_lost), as it was found when the claim was last renewed, a third of a minute ago at most. Costs
    /// nothing.
    pub fn was_lost(&self) -> bool {
        self.claim.as_ref().is_some_and(LockGuard::was_lost)
    }

    /// Whether a process works in the folder `dir`, or may do so on a file system without locks. A folder that is not there is
    /// free.
    ///
    /// # Errors
    ///
    /// If the folder cannot be looked at.
    pub fn is_held(dir: &Path) -> Result<bool, FileError> {
        let path = dir.join(FILE);
        // NFS locks only files that are open for writing.
        let file = match open_own(&path, File::options().read(true).write(true)) {
            // Nobody works where nothing can be written.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                return Ok(false);
            }
            opened => opened.map_err(FileError::io("look at", &path))?,
        };
        Ok(match try_lock(&file).map_err(FileError::io("look at", &path))? {
            Locking::Locked => false,
            Locking::Held => true,
            Locking::Unsupported => matches!(Claims::new(dir, LEASE)?.attempt(CLAIM)?, Attempt::Held(_)),
        })
    }
}

fn claim_within(dir: &Path, patience: Duration, waiting: &mut dyn FnMut(&Holder)) -> Result<Attempt, FileError> {
    let (claims, began, mut pauses) = (Claims::new(dir, LEASE)?, Instant::now(), Pauses::default());
    loop {
        match claims.attempt(CLAIM)? {
            Attempt::Held(holder) if began.elapsed() < patience => waiting(&holder),
            attempt => return Ok(attempt),
        }
        pauses.next();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use leadspan_files::{Refusal, faults};

    use super::*;

    /// The file that says that the work is finished.
    const LAST: &str = "summary.json";

    fn take(dir: &Path) -> LockedFolder {
        FolderLock::take_within(dir, LAST, Duration::ZERO, &mut |_| ()).unwrap()
    }

    #[test]
    fn one_process_works_in_a_folder_until_it_drops_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!FolderLock::is_held(folder.path()).unwrap());
        let LockedFolder::Locked(lock) = take(folder.path()) else {
            panic!("no process holds it")
        };
        assert!(FolderLock::is_held(folder.path()).unwrap());
        assert!(matches!(take(folder.path()), LockedFolder::Held(None)));
        drop(lock);
        assert!(!FolderLock::is_held(folder.path()).unwrap());
        assert!(matches!(take(folder.path()), LockedFolder::Locked(_)));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no claim is left behind"
        );
    }

    #[test]
    fn a_file_system_without_locks_gets_a_claim_that_a_dead_process_loses_after_its_lease() {
        // ENOLCK, ENOSYS, EOPNOTSUPP.
        for errno in [37, 38, 95] {
            faults::without_locks(errno, || {
                let folder = tempfile::tempdir().unwrap();
                let claim = folder.path().join(".claims").join(CLAIM);
                let LockedFolder::Locked(lock) = take(folder.path()) else {
                    panic!("no process holds it")
                };
                let text = fs::read(&claim).unwrap();
                assert!(FolderLock::is_held(folder.path()).unwrap());
                assert!(
                    matches!(take(folder.path()), LockedFolder::Held(Some(holder)) if holder.process == std::process::id())
                );
                // One who waits says for whom, and has the lock once it is free.
                let (mut lock, mut named) = (Some(lock), Vec::new());
                let mut waiting = |holder: &Holder| {
                    named.push(holder.process);
                    lock = None;
                };
                let second = FolderLock::take(folder.path(), LAST, &mut waiting).unwrap();
                assert!(matches!(second, LockedFolder::Locked(_)));
                assert_eq!(named, [std::process::id()]);
                drop(second);
                assert!(!FolderLock::is_held(folder.path()).unwrap() && !claim.exists());

                // A killed process leaves its claim.
                fs::create_dir(folder.path().join(".claims")).unwrap();
                fs::write(&claim, text).unwrap();
                assert!(matches!(take(folder.path()), LockedFolder::Held(Some(_))));
                let file = File::options().write(true).open(&claim).unwrap();
                file.set_modified(SystemTime::now() - LEASE * 2).unwrap();
                assert!(matches!(take(folder.path()), LockedFolder::Locked(_)));
            });
        }
    }

    #[test]
    fn a_process_whose_claim_was_taken_over_learns_it_and_leaves_the_new_one() {
        faults::without_locks(37, || {
            let folder = tempfile::tempdir().unwrap();
            let claim = folder.path().join(".claims").join(CLAIM);
            let locked = || match take(folder.path()) {
                LockedFolder::Locked(lock) => lock,
                other => panic!("{other:?}"),
            };
            let first = locked();
            assert!(!first.is_lost());
            let file = File::options().write(true).open(&claim).unwrap();
            file.set_modified(SystemTime::now() - LEASE * 2).unwrap();
            // Nobody has taken it over: it is renewed.
            assert!(!first.is_lost() && matches!(take(folder.path()), LockedFolder::Held(Some(_))));
            file.set_modified(SystemTime::now() - LEASE * 2).unwrap();
            let second = locked();
            assert!(first.is_lost() && !second.is_lost());
            drop(first);
            assert!(claim.exists() && !second.is_lost());
            drop(second);
            assert!(!claim.exists());
        });
        // The system keeps locks.
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(take(folder.path()), LockedFolder::Locked(lock) if !lock.is_lost()));
    }

    #[test]
    fn a_folder_without_write_access_is_told_from_one_that_is_held() {
        let folder = tempfile::tempdir().unwrap();
        faults::read_only(|| {
            let error = FolderLock::take(folder.path(), LAST, &mut |_| ()).unwrap_err();
            assert!(error.path.ends_with(FILE), "{error}");
            assert!(!FolderLock::is_held(folder.path()).unwrap());
        });
        assert!(matches!(take(folder.path()), LockedFolder::Locked(_)));
        faults::read_only(|| assert!(!FolderLock::is_held(folder.path()).unwrap()));
        fs::write(folder.path().join(LAST), "{}").unwrap();
        faults::read_only(|| assert!(matches!(take(folder.path()), LockedFolder::Finished)));
        assert!(matches!(
            take(&folder.path().join("new/folder")),
            LockedFolder::Locked(_)
        ));
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_refused_and_its_target_stays() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, b"untouched").unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        std::os::unix::fs::symlink(&outside, run.join(FILE)).unwrap();
        let taken = FolderLock::take(&run, LAST, &mut |_| ()).unwrap_err();
        for error in [taken, FolderLock::is_held(&run).unwrap_err()] {
            assert_eq!(Refusal::of(&error.source), Some(Refusal::NotRegular("a symbolic link")));
            assert!(error.to_string().contains("run/.lock"), "{error}");
        }
        assert_eq!(fs::read(outside).unwrap(), b"untouched");
    }
}
