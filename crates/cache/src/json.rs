//! The JSON files of a cache: they state their format, are indented and end with a line break.

use std::{io, path::Path};

use leadspan_files::read_unlinked;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{CacheError, FORMAT_VERSION};

/// The most bytes of a JSON file that are read. The largest lists a hundred thousand shards.
const MOST_BYTES: u64 = 64 << 20;

/// The bytes of a JSON file of a cache; `None` if there is no such file.
///
/// # Errors
///
/// [`CacheError::Io`] if it cannot be read, is no regular file, or is too large.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
    match read_unlinked(path, MOST_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(CacheError::io("read", path)(error)),
    }
}

/// The text of a JSON file.
pub(crate) fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain structures with string keys always serialize");
    bytes.push(b'\n');
    bytes
}

/// Parses a JSON file. Its key `format` is checked before anything else.
///
/// # Errors
///
/// [`CacheError::BadJson`] or [`CacheError::UnsupportedVersion`].
pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T, CacheError> {
    from_bytes_of(bytes, path, &[FORMAT_VERSION])
}

/// Like [`from_bytes`], for a file that may have one of several formats. `formats` lists the newest last.
pub(crate) fn from_bytes_of<T: DeserializeOwned>(bytes: &[u8], path: &Path, formats: &[u32]) -> Result<T, CacheError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let bad = |source| CacheError::BadJson {
        path: path.to_owned(),
        source,
    };
    let Version { format: found } = serde_json::from_slice(bytes).map_err(bad)?;
    if !formats.contains(&found) {
        return Err(CacheError::UnsupportedVersion {
            path: path.to_owned(),
            found,
            supported: formats.to_vec(),
        });
    }
    serde_json::from_slice(bytes).map_err(bad)
}
