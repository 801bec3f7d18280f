//! The hash of the teacher's weights, computed once and remembered in the cache beside the files' sizes and times.
//!
//! Every worker of an array job needs it to know that it runs the teacher the cache was made with, and a large teacher takes
//! minutes to read. What is remembered is a convenience of this machine, no part of the cache: it names files by their
//! full paths, so that a copy of the cache elsewhere computes the hash again.

use std::{fs, path::Path, time::UNIX_EPOCH};

use leadspan_files::commit_bytes;
use leadspan_model::{ModelError, ModelSource};
use serde::{Deserialize, Serialize};

const FILE: &str = ".weights.json";

/// What `.weights.json` holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    files: Vec<Stamp>,
    blake3: String,
}

/// What tells whether a file is still the one that was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: String,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified_ns: u64,
}

/// The hash of the weights of `source`: remembered in the cache at `cache_dir` where the files have not changed since.
///
/// # Errors
///
/// Where the weights cannot be read.
pub(crate) fn fingerprint(source: &ModelSource, cache_dir: &Path) -> Result<String, ModelError> {
    let stamps = stamps(source);
    let remembered = fs::read(cache_dir.join(FILE)).ok();
    let remembered = remembered.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    match remembered {
        Some(remembered) if stamps.as_ref() == Some(&remembered.files) => Ok(remembered.blake3),
        _ => source.weights_fingerprint(),
    }
}

/// Remembers the hash of the weights of `source` in the cache, unless it is there already.
///
/// A cache that cannot be written to is no reason to fail: the hash is then computed again another time.
pub(crate) fn remember(source: &ModelSource, cache_dir: &Path, blake3: &str) {
    let Some(files) = stamps(source) else { return };
    let remembered = Remembered {
        files,
        blake3: blake3.to_owned(),
    };
    let bytes = serde_json::to_vec_pretty(&remembered).expect("names and numbers serialize");
    let path = cache_dir.join(FILE);
    if fs::read(&path).ok().as_ref() != Some(&bytes) {
        let _ = commit_bytes(&path, &bytes);
    }
}

/// The stamps of all weight files, or `None` where the file system does not have them.
fn stamps(source: &ModelSource) -> Option<Vec<Stamp>> {
    let stamp = |path: &std::path::PathBuf| {
        let path = path.canonicalize().ok()?;
        let metadata = path.metadata().ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Stamp {
            path: path.to_str()?.to_owned(),
            bytes: metadata.len(),
            modified_ns: u64::try_from(modified.as_nanos()).ok()?,
        })
    };
    source.weight_files().ok()?.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn set_time(path: &Path, seconds: u64) {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn the_hash_is_remembered_until_size_or_time_of_a_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-teacher.gguf");
        let model = folder.path().join("teacher.gguf");
        fs::copy(fixture, &model).unwrap();
        let source = ModelSource::open(&model).unwrap();
        set_time(&model, 1_000_000);
        let computed = fingerprint(&source, folder.path()).unwrap();
        assert_eq!(computed, source.weights_fingerprint().unwrap());
        // What is remembered is believed, which shows that it is used.
        remember(&source, folder.path(), "remembered");
        assert_eq!(fingerprint(&source, folder.path()).unwrap(), "remembered");
        set_time(&model, 1_000_001);
        assert_eq!(fingerprint(&source, folder.path()).unwrap(), computed);
        fs::write(folder.path().join(FILE), b"not JSON").unwrap();
        assert_eq!(fingerprint(&source, folder.path()).unwrap(), computed);
        // A folder that is not there, or cannot be written to, costs only time.
        let nowhere = folder.path().join("nowhere");
        remember(&source, &nowhere, &computed);
        assert_eq!(fingerprint(&source, &nowhere).unwrap(), computed);
    }
}
