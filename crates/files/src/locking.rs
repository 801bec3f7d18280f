//! Locks on files, and file systems that have none.

use std::{
    fs::{File, TryLockError},
    io,
};

use rustix::io::Errno;

use crate::faults;

/// The answer of a file system that was asked for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// This process has it, until the file is closed.
    Locked,
    /// Another process, or another handle of this one, has it.
    Held,
    /// The file system has no locks: NFS without its lock service, Lustre without `flock`, some FUSE file systems.
    Unsupported,
}

/// Locks an open file, without waiting. The file should be open for writing: NFS demands that.
///
/// # Errors
///
/// If the file system fails for any other reason than that it has no locks.
pub fn try_lock(file: &File) -> io::Result<Locking> {
    let locked = match faults::lock_fault() {
        Some(fault) => Err(TryLockError::Error(fault)),
        None => file.try_lock(),
    };
    match locked {
        Ok(()) => Ok(Locking::Locked),
        Err(TryLockError::WouldBlock) => Ok(Locking::Held),
        Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(Locking::Unsupported),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    let none = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|errno| none.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_says_so_in_several_ways() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("lock")).unwrap();
        let (one, other) = (open(), open());
        for errno in [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP] {
            let locking = faults::without_locks(errno.raw_os_error(), || try_lock(&one));
            assert_eq!(locking.unwrap(), Locking::Unsupported, "{errno:?}");
        }
        assert!(faults::without_locks(Errno::IO.raw_os_error(), || try_lock(&one)).is_err());
        assert_eq!(try_lock(&one).unwrap(), Locking::Locked);
        assert_eq!(try_lock(&other).unwrap(), Locking::Held);
    }
}
