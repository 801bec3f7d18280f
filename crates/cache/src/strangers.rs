//! Somebody else's files in a folder that is to become a cache.
//!
//! A process that dies while it makes a cache leaves temporary files, claims and files of the tokenizer, and no `identity.json`.
//! The next process writes the same files of the tokenizer, unless it has another one. Everything else under a name that a
//! cache uses is not a cache's, because `identity.json` is written before it and removed after it.

use std::{fs, path::Path};

use leadspan_files::read_unlinked;

use crate::{CacheError, inventory::Inventory};

/// The records of hashes beside them, which `precompute` keeps.
const RECORDS: [&str; 2] = [".data.json", ".weights.json"];

/// Refuses a folder without `identity.json` that has what a cache with these files of a tokenizer would replace, or take for its
/// own. `tokenizer` and `folders` are the names of its folders. Files of other names stay where they are.
///
/// # Errors
///
/// [`CacheError::Occupied`] with the first such file or folder.
pub(crate) fn require_none(
    dir: &Path,
    [tokenizer, folders @ ..]: &[&str; 4],
    tokenizer_files: &[(String, Vec<u8>)],
) -> Result<(), CacheError> {
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let is_filled = |path: &Path| match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => is_there(path),
    };
    let folders = folders.iter().map(|name| dir.join(name));
    let records = RECORDS.map(|name| dir.join(name)).into_iter();
    let files = tokenizer_files
        .iter()
        .map(|(name, bytes)| (dir.join(tokenizer).join(name), bytes));
    let other = |path: &Path, bytes: &[u8]| {
        is_there(path) && !read_unlinked(path, bytes.len() as u64).is_ok_and(|found| found == bytes)
    };
    let mut found = folders
        .filter(|path| is_filled(path))
        .chain(records.chain([Inventory::path(dir)]).filter(|path| is_there(path)))
        .chain(files.filter(|(path, bytes)| other(path, bytes)).map(|(path, _)| path));
    match found.next() {
        None => Ok(()),
        Some(found) => Err(CacheError::Occupied {
            path: dir.to_owned(),
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;
    use crate::{Cache, tests::synthetic};

    #[test]
    fn what_a_cache_would_replace_is_refused_by_name_and_stays() {
        let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        for name in [
            "tokenizer/tokenizer.json",
            "corpus/samples.arrow",
            "layers/notes",
            "replay/mine",
            "inventory.json",
            ".data.json",
            ".weights.json",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (dir, path) = (folder.path(), folder.path().join(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"mine").unwrap();
            let error = Cache::create_or_open(dir, &synthetic::identity(), &tokenizer).unwrap_err();
            let CacheError::Occupied { found, .. } = &error else {
                panic!("{name}: {error}")
            };
            assert!(path.starts_with(found) && found != dir, "{name}: {error}");
            assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"mine");
            assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "{name}");
        }
    }

    #[test]
    fn a_link_in_place_of_a_tokenizers_file_is_refused_though_it_has_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, dir) = (folder.path().join("outside"), folder.path().join("cache"));
        fs::create_dir_all(dir.join("tokenizer")).unwrap();
        fs::write(&outside, b"{}").unwrap();
        let link = dir.join("tokenizer/tokenizer.json");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        let made = Cache::create_or_open(&dir, &synthetic::identity(), &tokenizer);
        assert!(matches!(made, Err(CacheError::Occupied { found, .. }) if found == link));
    }

    #[test]
    fn what_a_process_that_died_left_and_other_names_are_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        for name in ["tokenizer", "corpus", "layers", ".claims"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        for (name, text) in [
            ("tokenizer/tokenizer.json", "{}"),
            ("tokenizer/.vocab.json.Ab12cd.tmp", "{"),
            (".identity.json.Ab12cd.tmp", "{"),
            ("tokenizer/notes.txt", "mine"),
            ("README", "mine"),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        Cache::create_or_open(dir, &synthetic::identity(), &tokenizer).unwrap();
        assert_eq!(fs::read(dir.join("README")).unwrap(), b"mine");
    }
}
