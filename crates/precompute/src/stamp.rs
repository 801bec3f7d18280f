//! Size and modification time of a file, by which a hash computed earlier is trusted.

use std::{fs, path::Path, time::UNIX_EPOCH};

use leadspan_files::commit_bytes;
use serde::{Deserialize, Serialize};

/// Path, size and modification time of a file: if they are the same, the file counts as unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The full path, without links.
    path: String,
    pub(crate) bytes: u64,
    /// Nanoseconds since 1970.
    modified_ns: u64,
}

impl Stamp {
    /// The stamp of a file, or `None` if the file system does not know its size or time.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let metadata = path.metadata().ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            path: path.to_str()?.to_owned(),
            bytes: metadata.len(),
            modified_ns: u64::try_from(modified.as_nanos()).ok()?,
        })
    }
}

/// Stores what is remembered at `path`, unless it is there already. A failure is not an error: it costs only time.
pub(crate) fn remember_bytes(path: &Path, bytes: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(bytes) {
        let _ = commit_bytes(path, bytes);
    }
}

/// Sets the modification time of a file, in seconds since 1970.
#[cfg(test)]
pub(crate) fn set_time(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(seconds))
        .unwrap();
}
