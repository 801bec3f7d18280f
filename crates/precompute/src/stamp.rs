//! Size and modification time of a file, by which a hash computed earlier is trusted.

use std::{path::Path, time::UNIX_EPOCH};

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
