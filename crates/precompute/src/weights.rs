//! The hash of the teacher's weights, remembered in the cache beside size and time of each file.
//!
//! Every worker of an array job needs the hash to know that it runs the teacher that the cache was made with, and a large
//! teacher takes minutes to read. `.weights.json` belongs to this machine: it has full paths, and a copy of the cache
//! elsewhere computes the hash again.

use std::{fs, path::Path};

use leadspan_model::{ModelError, ModelSource};
use serde::{Deserialize, Serialize};

use crate::stamp::{Stamp, remember_bytes};

const FILE: &str = ".weights.json";

/// The contents of `.weights.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    files: Vec<Stamp>,
    blake3: String,
}

/// The hash of the weights of `source`: the one that the cache in `cache_dir` remembers if the files have not changed since,
/// or else computed from the files.
///
/// # Errors
///
/// Fails if the weights cannot be read.
pub(crate) fn fingerprint(source: &ModelSource, cache_dir: &Path) -> Result<String, ModelError> {
    let stamps = stamps(source);
    let remembered = fs::read(cache_dir.join(FILE)).ok();
    let remembered = remembered.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    match remembered {
        Some(remembered) if stamps.as_ref() == Some(&remembered.files) => Ok(remembered.blake3),
        _ => source.weights_fingerprint(),
    }
}

/// Stores the hash of the weights of `source` in the cache, unless it is there already.
///
/// If the cache cannot be written to, the next process computes the hash again.
pub(crate) fn remember(source: &ModelSource, cache_dir: &Path, blake3: &str) {
    let Some(files) = stamps(source) else { return };
    let remembered = Remembered {
        files,
        blake3: blake3.to_owned(),
    };
    let bytes = serde_json::to_vec_pretty(&remembered).expect("names and numbers serialize");
    remember_bytes(&cache_dir.join(FILE), &bytes);
}

/// The stamps of all weight files, or `None` if the file system does not have them.
fn stamps(source: &ModelSource) -> Option<Vec<Stamp>> {
    source.weight_files().ok()?.iter().map(|path| Stamp::of(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::set_time;

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
        // A remembered hash is trusted: this one shows that it is used.
        remember(&source, folder.path(), "remembered");
        assert_eq!(fingerprint(&source, folder.path()).unwrap(), "remembered");
        set_time(&model, 1_000_001);
        assert_eq!(fingerprint(&source, folder.path()).unwrap(), computed);
        fs::write(folder.path().join(FILE), b"not JSON").unwrap();
        assert_eq!(fingerprint(&source, folder.path()).unwrap(), computed);
        // A missing folder, or one that cannot be written to, costs only time.
        let nowhere = folder.path().join("nowhere");
        remember(&source, &nowhere, &computed);
        assert_eq!(fingerprint(&source, &nowhere).unwrap(), computed);
    }
}
