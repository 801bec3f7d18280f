//! The hidden folder for what describes the cache that is cut from a store: one process has it at a time, and a kill at any moment
//! leaves something to go on with.

use std::{fs, io, path::Path};

use leadspan_files::{FileError, require_own_folder};
use leadspan_workers::{FolderLock, LockedFolder};

use crate::{StoreError, names};

/// Takes the frame for this process: another one would find it gone once this one is done.
///
/// # Errors
///
/// [`StoreError::InUse`] if another process has it.
pub(crate) fn lock(dir: &Path, frame: &Path) -> Result<FolderLock, StoreError> {
    require_own_folder(frame).map_err(FileError::io("use", frame))?;
    // A process that ends meanwhile removes the frame, with the lock in it.
    for is_last in [false, false, true] {
        match FolderLock::take(frame, names::INVENTORY, &mut |_| {}) {
            Err(error) if !is_last && error.source.kind() == io::ErrorKind::NotFound => {}
            Ok(LockedFolder::Locked(_)) if !FolderLock::is_held(frame)? => {}
            Ok(LockedFolder::Locked(lock)) => return Ok(lock),
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::InUse { path: dir.to_owned() })
}

/// Removes what a process left in the frame that was killed while it removed it: without an identity, that is no cache to go on
/// with.
pub(crate) fn clear_leftovers(frame: &Path) -> Result<(), FileError> {
    if frame.join(names::IDENTITY).exists() {
        return Ok(());
    }
    clear(frame)
}

/// Removes the frame once nothing needs it any more: the lock at last, so that no other process works in it meanwhile.
pub(crate) fn remove(frame: &Path) -> Result<(), FileError> {
    clear(frame)?;
    match fs::remove_dir_all(frame) {
        // Another process begins in it already.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        removed => removed.map_err(FileError::io("remove", frame)),
    }
}

/// Removes everything in the frame but hidden files, of which the lock is one.
fn clear(frame: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(frame).map_err(FileError::io("list", frame))? {
        let entry = entry.map_err(FileError::io("list", frame))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        removed.map_err(FileError::io("remove", path))?;
    }
    Ok(())
}
