//! The commit protocol: a file appears under its name whole and durable, or not at all.
//!
//! A temporary sibling `.NAME.XXXXXX.tmp` is written and synced, it is renamed to `NAME`, and the folder is synced. The
//! temporary's name ends neither in `.parquet` nor in `.json`, so no reader opens it. Its writer holds an advisory lock on
//! it until the writer ends. The next writer of the same `NAME` removes the temporaries whose lock it can take, which are
//! those of dead processes. In a folder of thousands of files, not every writer does so. This module does not depend on
//! the files' contents.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use tempfile::NamedTempFile;

use crate::{FileError, Locking, faults, open_own, try_lock};

/// A file that is being written and not yet visible under its name.
///
/// Dropping it without a commit removes the temporary.
#[derive(Debug)]
pub struct PendingFile {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl PendingFile {
    /// Starts a file that will appear as `target`. Its folder must exist.
    ///
    /// Temporaries left by dead writers of the same target are removed first.
    ///
    /// # Errors
    ///
    /// If the folder does not exist or cannot be written to.
    pub fn create(target: &Path) -> Result<Self, FileError> {
        Self::create_in(target, &Clearing::default())
    }

    /// Like [`create`](Self::create), for one of many files of a folder: temporaries of dead writers are looked for only when
    /// `clearing` is due.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_in(target: &Path, clearing: &Clearing) -> Result<Self, FileError> {
        clearing.before(target);
        faults::step().map_err(FileError::io("create", target))?;
        let temporary = create_temporary(target).map_err(FileError::io("create", target))?;
        Ok(Self {
            temporary,
            target: target.to_owned(),
        })
    }

    /// The file being written.
    pub fn file_mut(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// The name under which the file will appear.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the file visible under its name, replacing a file of that name.
    ///
    /// # Errors
    ///
    /// If syncing or renaming fails; a file that already had the name is then unchanged. The last step, syncing the folder,
    /// may fail after the rename: the file is then visible and complete, but a power cut may undo the rename.
    pub fn commit(self) -> Result<(), FileError> {
        self.sync()?;
        let Self { temporary, target } = self;
        // The lock belongs to the file handle, so it is held until the file has its final name.
        let (_file, path) = temporary.into_parts();
        let failed = || FileError::io("commit", &target);
        faults::step().map_err(failed())?;
        path.persist(&target).map_err(|error| failed()(error.error))?;
        sync_folder(&target).map_err(FileError::io("sync the folder of", &target))
    }

    /// Like [`commit`](Self::commit), but does not replace an existing file: `self` is then returned.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub fn commit_new(self) -> Result<Option<Self>, FileError> {
        self.sync()?;
        let Self { temporary, target } = self;
        let (file, path) = temporary.into_parts();
        let failed = || FileError::io("commit", &target);
        faults::step().map_err(failed())?;
        match path.persist_noclobber(&target) {
            Ok(()) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                let temporary = NamedTempFile::from_parts(file, error.path);
                return Ok(Some(Self { temporary, target }));
            }
            Err(error) => return Err(failed()(error.error)),
        }
        sync_folder(&target).map_err(FileError::io("sync the folder of", &target))?;
        Ok(None)
    }

    fn sync(&self) -> Result<(), FileError> {
        let failed = || FileError::io("sync", &self.target);
        faults::step().map_err(failed())?;
        self.temporary.as_file().sync_all().map_err(failed())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        faults::step()?;
        self.file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file_mut().flush()
    }
}

impl Seek for PendingFile {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file_mut().seek(place)
    }
}

/// Writes a file by the commit protocol: `write` fills it, and it appears once it is complete.
///
/// # Errors
///
/// Those of `write`, as [`FileError`] naming `path`, and those of [`PendingFile`].
///
/// # Example
///
/// ```
/// use std::io::Write;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("state.json");
/// leadspan_files::commit_file(&path, |file| file.write_all(b"{}"))?;
/// assert_eq!(std::fs::read(&path)?, b"{}");
/// # Ok(())
/// # }
/// ```
pub fn commit_file<T>(path: &Path, write: impl FnOnce(&mut PendingFile) -> io::Result<T>) -> Result<T, FileError> {
    let mut pending = PendingFile::create(path)?;
    let result = write(&mut pending).map_err(FileError::io("write", path))?;
    pending.commit()?;
    Ok(result)
}

/// Writes `bytes` as a file by the commit protocol.
///
/// # Errors
///
/// If the file cannot be written; see [`PendingFile`].
pub fn commit_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    commit_file(path, |file| file.write_all(bytes))
}

/// Like [`commit_bytes`], for one of many files of a folder.
///
/// # Errors
///
/// As [`commit_bytes`].
pub fn commit_bytes_in(path: &Path, bytes: &[u8], clearing: &Clearing) -> Result<(), FileError> {
    let mut pending = PendingFile::create_in(path, clearing)?;
    pending.write_all(bytes).map_err(FileError::io("write", path))?;
    pending.commit()
}

/// When to look for temporaries of dead writers in a folder that gets many files.
///
/// Looking lists the whole folder. It is done for every file while the folder is small, and less often as the folder
/// grows, so that the cost per file stays constant. Temporaries that are missed are removed at the end of the capture.
#[derive(Debug, Default)]
pub struct Clearing {
    /// The number of files that may be written before the next look.
    writes_left: AtomicUsize,
}

impl Clearing {
    /// Listing this many names costs about as much as creating, syncing and renaming a file in memory.
    const NAMES_A_WRITE: usize = 64;

    fn before(&self, target: &Path) {
        let spend = |left: usize| left.checked_sub(1);
        if self
            .writes_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_err()
        {
            let names = remove_stale_temporaries(target);
            self.writes_left.store(names / Self::NAMES_A_WRITE, Ordering::Relaxed);
        }
    }
}

/// Replaces a file atomically without waiting for the disk: readers see the complete old or the complete new file. A power
/// cut may lose it.
///
/// # Errors
///
/// Fails if the folder does not exist or cannot be written to.
pub fn replace_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut pending = PendingFile::create(path)?;
    pending.write_all(bytes).map_err(FileError::io("write", path))?;
    let (_file, temporary) = pending.temporary.into_parts();
    let replaced = temporary.persist(path);
    replaced.map_err(|error| FileError::io("write", path)(error.error))
}

/// Creates a folder and its missing parents durably: a power cut does not lose them.
///
/// # Errors
///
/// Fails if a folder cannot be created or synced.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_folder(above)?;
    }
    faults::step().map_err(FileError::io("create the folder", path))?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created
            .and_then(|()| sync_folder(path))
            .map_err(FileError::io("create the folder", path)),
    }
}

fn parent(target: &Path) -> &Path {
    target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn temporary_prefix(target: &Path) -> String {
    format!(".{}.", target.file_name().unwrap_or_default().to_string_lossy())
}

const TEMPORARY_SUFFIX: &str = ".tmp";

fn create_temporary(target: &Path) -> io::Result<NamedTempFile> {
    let prefix = temporary_prefix(target);
    loop {
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(TEMPORARY_SUFFIX);
        #[cfg(unix)]
        {
            // The umask applies, as for any other file: users of a cluster share caches.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        // The random name of a temporary would not help the reader of the message.
        let temporary = builder
            .tempfile_in(parent(target))
            .map_err(|error| io::Error::from(error.kind()))?;
        // On a file system without locks, only the removal of temporaries is lost.
        let locked = temporary.as_file().lock().is_ok();
        // Before it was locked, another writer may have taken it for a dead writer's file and removed it.
        if !locked || temporary.path().exists() {
            return Ok(temporary);
        }
    }
}

/// The name of the target file, given the name of a temporary.
pub fn temporary_of(name: &str) -> Option<&str> {
    let (target, _random) = name
        .strip_prefix('.')?
        .strip_suffix(TEMPORARY_SUFFIX)?
        .rsplit_once('.')?;
    Some(target)
}

/// Removes temporaries of `target` that no living process writes, and counts the names in its folder. A temporary that
/// cannot be removed stays; it is harmless.
fn remove_stale_temporaries(target: &Path) -> usize {
    let Ok(entries) = fs::read_dir(parent(target)) else {
        return 0;
    };
    let mut names = 0;
    for entry in entries.flatten() {
        names += 1;
        let name = entry.file_name();
        if name.to_str().and_then(temporary_of).map(OsStr::new) == target.file_name() {
            remove_if_dead(&entry.path());
        }
    }
    names
}

/// Removes a temporary if its lock can be taken, which means that its writer is dead.
pub fn remove_if_dead(temporary: &Path) {
    if let Ok(file) = open_own(temporary, File::options().write(true))
        && matches!(try_lock(&file), Ok(Locking::Locked))
    {
        let _ = fs::remove_file(temporary);
    }
}

/// Makes changes of names in the folder of `target` durable.
#[cfg(unix)]
fn sync_folder(target: &Path) -> io::Result<()> {
    faults::step()?;
    File::open(parent(target))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_target: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
