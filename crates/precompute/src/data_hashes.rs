//! The hashes of the raw data, remembered in the cache beside size, time and inode of each file.
//!
//! Every process that fills a cache must know that the cache was prepared from the data that is there now. Hashing all data
//! for that takes minutes if there is much of it. So `.data.json` in the cache's folder keeps the hashes, and a process reads
//! only the files whose size, modification time or inode differ. Like `.weights.json`, the file belongs to this machine: it
//! has full paths, and a copy of the cache elsewhere hashes the data again.
//!
//! A change that leaves size, modification time and inode as they were goes unnoticed, unless [`DataCheck::Contents`] is
//! asked for. If that finds another hash than the cache remembers, the cache forgets its hashes, so that every later process
//! finds the change, too.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use leadspan_corpus::{CorpusError, FileFingerprint, files_fingerprint, name_of};
use serde::{Deserialize, Serialize};

use crate::stamp::{Stamp, remember_bytes};

const FILE: &str = ".data.json";

/// How a process finds out whether the raw data is still what the cache was prepared from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataCheck {
    /// Hashes a file only if its size, modification time or inode differs from what the cache remembers.
    #[default]
    Stamps,
    /// Hashes every file.
    Contents,
}

/// A file of the raw data with its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HashedFile {
    #[serde(flatten)]
    stamp: Stamp,
    inode: u64,
    blake3: String,
}

/// The hashes that this process knows.
#[derive(Debug)]
pub(crate) struct DataHashes {
    known: RefCell<Vec<HashedFile>>,
    /// What the cache remembers but this process does not trust.
    doubted: Vec<HashedFile>,
    /// The file that the hashes are remembered in.
    remembered_in: PathBuf,
}

impl DataHashes {
    /// Those that the cache in `cache_dir` remembers. If every file must be hashed, none of them is known.
    pub(crate) fn of(cache_dir: &Path, check: DataCheck) -> Self {
        let remembered_in = cache_dir.join(FILE);
        let remembered = fs::read(&remembered_in)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let (known, doubted) = match check {
            DataCheck::Stamps => (remembered, Vec::new()),
            DataCheck::Contents => (Vec::new(), remembered),
        };
        Self {
            known: RefCell::new(known),
            doubted,
            remembered_in,
        }
    }

    /// The fingerprints of `files`, whose names are relative to `base`. Files that are not known are hashed, and known from
    /// then on. If a hash is not the one that the cache remembers for the same size, time and inode, the cache forgets all
    /// hashes: this process may fail because of the change, and the next one must not trust them.
    ///
    /// # Errors
    ///
    /// A file that is missing or cannot be read.
    pub(crate) fn fingerprints(&self, base: &Path, files: &[PathBuf]) -> Result<Vec<FileFingerprint>, CorpusError> {
        let mut known = self.known.borrow_mut();
        let mut found = Vec::with_capacity(files.len());
        let mut fingerprints = Vec::with_capacity(files.len());
        for path in files {
            let before = identified(path);
            let same = |file: &&HashedFile| before.as_ref() == Some(&(file.stamp.clone(), file.inode));
            if let Some(file) = known.iter().find(same) {
                fingerprints.push(FileFingerprint {
                    path: name_of(base, path),
                    bytes: file.stamp.bytes,
                    blake3: file.blake3.clone(),
                });
                found.push(file.clone());
                continue;
            }
            let [fingerprint] = files_fingerprint(base, std::slice::from_ref(path))?
                .try_into()
                .expect("one file has one fingerprint");
            // A file that changed while it was read must be read again.
            let disproved = |file: &HashedFile| {
                before.as_ref() == Some(&(file.stamp.clone(), file.inode)) && file.blake3 != fingerprint.blake3
            };
            if self.doubted.iter().any(disproved) {
                // A cache that cannot be written to keeps them, as it keeps everything.
                let _ = fs::remove_file(&self.remembered_in);
            }
            if let Some((stamp, inode)) = before.filter(|before| identified(path).as_ref() == Some(before)) {
                found.push(HashedFile {
                    stamp,
                    inode,
                    blake3: fingerprint.blake3.clone(),
                });
            }
            fingerprints.push(fingerprint);
        }
        *known = found;
        Ok(fingerprints)
    }

    /// Stores what is known in the cache in `cache_dir`, unless it is there already.
    ///
    /// If the cache cannot be written to, the next process hashes the data again.
    pub(crate) fn remember(&self, cache_dir: &Path) {
        let bytes = serde_json::to_vec_pretty(&*self.known.borrow()).expect("names and numbers serialize");
        remember_bytes(&cache_dir.join(FILE), &bytes);
    }
}

/// The stamp of a file and its inode, or `None` if the file system does not have them.
fn identified(path: &Path) -> Option<(Stamp, u64)> {
    Some((Stamp::of(path)?, inode(path)?))
}

#[cfg(unix)]
fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().ok().map(|metadata| metadata.ino())
}

#[cfg(not(unix))]
fn inode(_path: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::set_time;

    #[test]
    fn a_file_is_hashed_again_if_its_size_time_or_inode_changed() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let (path, other) = (base.join("rows.jsonl"), base.join("other.jsonl"));
        let hash_of = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
        let hashes_with = |check| -> Vec<String> {
            let hashes = DataHashes::of(base, check);
            let found = hashes.fingerprints(base, &[other.clone(), path.clone()]).unwrap();
            hashes.remember(base);
            assert_eq!(found[1].path, "rows.jsonl");
            found.into_iter().map(|file| file.blake3).collect()
        };
        let hashes = || hashes_with(DataCheck::Stamps);
        fs::write(&other, "other").unwrap();
        fs::write(&path, "one").unwrap();
        set_time(&path, 1_000_000);
        assert_eq!(hashes(), [hash_of("other"), hash_of("one")]);
        // The same size, time and inode: the remembered hash is trusted.
        fs::write(&path, "two").unwrap();
        set_time(&path, 1_000_000);
        assert_eq!(hashes()[1], hash_of("one"));
        // Hashing all data finds the change. The cache forgets the wrong hash even if this process remembers nothing.
        let found = DataHashes::of(base, DataCheck::Contents)
            .fingerprints(base, std::slice::from_ref(&path))
            .unwrap();
        assert_eq!(found[0].blake3, hash_of("two"));
        assert!(!base.join(FILE).exists());
        assert_eq!(hashes_with(DataCheck::Contents)[1], hash_of("two"));
        assert_eq!(hashes()[1], hash_of("two"), "what was hashed is remembered");
        // Another size.
        fs::write(&path, "three").unwrap();
        set_time(&path, 1_000_000);
        assert_eq!(hashes()[1], hash_of("three"));
        // Another time.
        fs::write(&path, "seven").unwrap();
        set_time(&path, 1_000_001);
        assert_eq!(hashes()[1], hash_of("seven"));
        // Another inode.
        let new = base.join("new");
        fs::write(&new, "eight").unwrap();
        set_time(&new, 1_000_001);
        fs::rename(&new, &path).unwrap();
        assert_eq!(hashes(), [hash_of("other"), hash_of("eight")]);
        // Damage costs only time.
        fs::write(base.join(FILE), b"not JSON").unwrap();
        assert_eq!(hashes(), [hash_of("other"), hash_of("eight")]);
    }

    #[test]
    fn a_cache_that_cannot_be_written_to_costs_only_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, "one").unwrap();
        let nowhere = folder.path().join("nowhere");
        let hashes = DataHashes::of(&nowhere, DataCheck::Stamps);
        assert_eq!(hashes.fingerprints(folder.path(), &[path]).unwrap().len(), 1);
        hashes.remember(&nowhere);
        assert!(!nowhere.exists());
    }
}
