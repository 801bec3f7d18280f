//! The hashes of the raw data, remembered in the cache beside the stamp of each file.
//!
//! Every process that fills a cache must know that the cache was prepared from the data that is there now. Hashing all data
//! for that takes minutes if there is much of it. So `.data.json` in the cache's folder keeps the hashes, and a process reads
//! only the files whose stamps differ or are not trusted, and a few blocks of the others. [`stamp`](crate::stamp) says which
//! are trusted.
//!
//! A change that leaves the stamp as it was goes unnoticed, unless [`DataCheck::Contents`] is asked for. If that finds another
//! hash than the cache remembers, the cache forgets its hashes, so that every later process finds the change, too.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use leadspan_corpus::{CorpusError, FileFingerprint, files_fingerprint, name_of};
use serde::{Deserialize, Serialize};

use crate::stamp::{self, Made, Maker, Stamp};

const FILE: &str = ".data.json";

/// How a process finds out whether the raw data is still what the cache was prepared from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataCheck {
    /// Hashes a file only if its size, times, inode or some of its blocks differ from what the cache remembers, or if a worker
    /// on another machine hashed it.
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
    #[serde(flatten)]
    made: Made,
    blake3: String,
}

impl HashedFile {
    /// Whether it is the file with this stamp.
    fn is(&self, now: Option<&Stamp>) -> bool {
        now.is_some_and(|now| now.is_as(&self.stamp, &self.made))
    }
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
        let remembered: Vec<HashedFile> = stamp::remembered(&remembered_in).unwrap_or_default();
        let (known, doubted) = match check {
            DataCheck::Stamps => {
                let trusted = remembered.into_iter().filter(|file| file.made.is_trusted());
                (trusted.collect(), Vec::new())
            }
            DataCheck::Contents => (Vec::new(), remembered),
        };
        Self {
            known: RefCell::new(known),
            doubted,
            remembered_in,
        }
    }

    /// The fingerprints of `files`, whose names are relative to `base`. Files that are not known are hashed, and known from
    /// then on. If a hash is not the one that the cache remembers for the same stamp, the cache forgets all hashes: this process may fail because of the change, and the next one must not trust them.
    ///
    /// # Errors
    ///
    /// A file that is missing or cannot be read.
    pub(crate) fn fingerprints(&self, base: &Path, files: &[PathBuf]) -> Result<Vec<FileFingerprint>, CorpusError> {
        let mut known = self.known.borrow_mut();
        let mut found = Vec::with_capacity(files.len());
        let mut fingerprints = Vec::with_capacity(files.len());
        for path in files {
            let before = Stamp::of(path);
            if let Some(file) = known.iter().find(|file| file.is(before.as_ref())) {
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
            let disproved = |file: &HashedFile| file.is(before.as_ref()) && file.blake3 != fingerprint.blake3;
            if self.doubted.iter().any(disproved) {
                // A cache that cannot be written to keeps them, as it keeps everything.
                let _ = fs::remove_file(&self.remembered_in);
            }
            if let Some(stamp) = before.filter(|before| Stamp::of(path).as_ref() == Some(before)) {
                found.push(HashedFile {
                    stamp,
                    made: Made::here(Maker::Worker),
                    blake3: fingerprint.blake3.clone(),
                });
            }
            fingerprints.push(fingerprint);
        }
        *known = found;
        Ok(fingerprints)
    }

    /// Stores what is known in the cache in `cache_dir`, unless it is there already. `maker` is this command.
    ///
    /// If the cache cannot be written to, the next process hashes the data again.
    pub(crate) fn remember(&self, cache_dir: &Path, maker: Maker) {
        let mut files = self.known.borrow().clone();
        for file in &mut files {
            file.made = file.made.kept_by(maker);
        }
        stamp::remember(&cache_dir.join(FILE), &files);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::{forge, set_time};

    #[test]
    fn a_file_is_hashed_again_if_its_stamp_changed_or_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        let (path, other) = (base.join("rows.jsonl"), base.join("other.jsonl"));
        let record = base.join(FILE);
        let hash_of = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
        let hashes_with = |check| -> Vec<String> {
            let hashes = DataHashes::of(base, check);
            let found = hashes.fingerprints(base, &[other.clone(), path.clone()]).unwrap();
            hashes.remember(base, Maker::Worker);
            assert_eq!(found[1].path, "rows.jsonl");
            found.into_iter().map(|file| file.blake3).collect()
        };
        let hashes = || hashes_with(DataCheck::Stamps);
        fs::write(&other, "other").unwrap();
        fs::write(&path, "one").unwrap();
        set_time(&path, 1_000_000);
        assert_eq!(hashes(), [hash_of("other"), hash_of("one")]);
        // The same size, time and inode, written in place.
        fs::write(&path, "two").unwrap();
        set_time(&path, 1_000_000);
        assert_eq!(hashes()[1], hash_of("two"));
        // The same stamp in all parts, as only a forger has it: the remembered hash is trusted.
        fs::write(&path, "six").unwrap();
        forge(&record, &[&other, &path], |_| ());
        assert_eq!(hashes()[1], hash_of("two"));
        // Hashing all data finds the change. The cache forgets the wrong hash even if this process remembers nothing.
        let found = DataHashes::of(base, DataCheck::Contents)
            .fingerprints(base, std::slice::from_ref(&path))
            .unwrap();
        assert_eq!(found[0].blake3, hash_of("six"));
        assert!(!record.exists());
        assert_eq!(hashes_with(DataCheck::Contents)[1], hash_of("six"));
        assert_eq!(hashes()[1], hash_of("six"), "what was hashed is remembered");
        // A worker on another machine is not trusted, `prepare` is.
        fs::write(&path, "ten").unwrap();
        let elsewhere = |made_by: &'static str| {
            move |record: &mut serde_json::Value| {
                record[1]["boot_id"] = "another".into();
                record[1]["made_by"] = made_by.into();
            }
        };
        forge(&record, &[&other, &path], elsewhere("prepare"));
        assert_eq!(hashes()[1], hash_of("six"));
        forge(&record, &[&other, &path], elsewhere("worker"));
        assert_eq!(hashes()[1], hash_of("ten"));
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
        // A record of an earlier version, or damage, costs only time.
        for text in [
            r#"[{"path": "rows.jsonl", "bytes": 5, "modified_ns": 1, "inode": 1, "blake3": "0"}]"#,
            "not JSON",
        ] {
            fs::write(&record, text).unwrap();
            assert_eq!(hashes(), [hash_of("other"), hash_of("eight")]);
        }
    }

    #[test]
    fn a_cache_that_cannot_be_written_to_costs_only_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, "one").unwrap();
        let nowhere = folder.path().join("nowhere");
        let hashes = DataHashes::of(&nowhere, DataCheck::Stamps);
        assert_eq!(hashes.fingerprints(folder.path(), &[path]).unwrap().len(), 1);
        hashes.remember(&nowhere, Maker::Prepare);
        assert!(!nowhere.exists());
    }
}
