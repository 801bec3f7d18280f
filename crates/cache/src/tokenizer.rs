//! The tokenizer's files in a cache, compared with their hashes before anybody uses them.

use std::{io, path::Path};

use leadspan_files::{commit_bytes, create_folder, read_unlinked, require_own_folder};

use crate::{Cache, CacheError};

/// The most bytes of a tokenizer's file that are read. The largest vocabularies need a tenth of it.
const MOST_BYTES: u64 = 256 << 20;

impl Cache {
    /// The tokenizer's files by name, with their contents.
    ///
    /// # Errors
    ///
    /// [`CacheError::Damaged`] with the first file whose contents are not those that `identity.json` states;
    /// [`CacheError::Io`] if one cannot be read or is no regular file.
    pub fn tokenizer_contents(&self) -> Result<Vec<(String, Vec<u8>)>, CacheError> {
        let dir = self.tokenizer_dir();
        let files = self.tokenizer_files().iter();
        files
            .map(|(name, blake3)| Ok((name.clone(), read(&dir.join(name), blake3)?)))
            .collect()
    }

    /// Writes the tokenizer's files that are missing, if `files` has them with the hashes that `identity.json` states, and
    /// compares the others with theirs. Returns the names of those that were written.
    ///
    /// # Errors
    ///
    /// Those of [`tokenizer_contents`](Self::tokenizer_contents), and [`CacheError::Io`] if a file cannot be written. A file
    /// that is there is never replaced.
    pub fn restore_tokenizer(&self, files: &[(String, Vec<u8>)]) -> Result<Vec<String>, CacheError> {
        let dir = self.tokenizer_dir();
        // Nothing is written through a link.
        require_own_folder(&dir).map_err(CacheError::io("use", &dir))?;
        let mut written = Vec::new();
        for (name, blake3) in self.tokenizer_files() {
            let path = dir.join(name);
            let is_missing = path
                .symlink_metadata()
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            let known = files
                .iter()
                .find(|(known, bytes)| known == name && blake3::hash(bytes).to_hex().as_str() == blake3);
            if let Some((_, bytes)) = known.filter(|_| is_missing) {
                create_folder(&dir)?;
                commit_bytes(&path, bytes)?;
                written.push(name.clone());
            }
        }
        self.tokenizer_contents().map(|_| written)
    }
}

/// Reads a file that has this hash.
pub(crate) fn read(path: &Path, blake3: &str) -> Result<Vec<u8>, CacheError> {
    let bytes = read_unlinked(path, MOST_BYTES).map_err(CacheError::io("read", path))?;
    if blake3::hash(&bytes).to_hex().as_str() == blake3 {
        Ok(bytes)
    } else {
        Err(CacheError::Damaged {
            path: path.to_owned(),
            part: "contents".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;
    use crate::tests::synthetic;
    use std::fs;

    #[test]
    fn only_the_files_that_the_identity_states_are_given_out() {
        let prepared = synthetic::prepared(2, 0, 2);
        let cache = &prepared.cache;
        assert_eq!(
            cache.tokenizer_contents().unwrap(),
            [("tokenizer.json".to_owned(), b"{}".to_vec())]
        );
        let path = cache.tokenizer_dir().join("tokenizer.json");
        fs::write(&path, b"[]").unwrap();
        let error = cache.tokenizer_contents().unwrap_err();
        assert!(
            matches!(&error, CacheError::Damaged { path: found, .. } if *found == path),
            "{error}"
        );
        // A link to the very same bytes is refused as well: it may lead to another file later.
        fs::write(cache.dir().join("elsewhere"), b"{}").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("../elsewhere", &path).unwrap();
        let error = cache.tokenizer_contents().unwrap_err();
        assert!(
            matches!(&error, CacheError::Io { path: found, .. } if *found == path),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_written_anew_and_an_edited_one_is_refused_with_the_way_to_that() {
        let prepared = synthetic::prepared(2, 0, 2);
        let cache = &prepared.cache;
        let files = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        let none: [String; 0] = [];
        assert_eq!(cache.restore_tokenizer(&files).unwrap(), none);
        fs::remove_dir_all(cache.tokenizer_dir()).unwrap();
        // Without the same bytes there is nothing to write.
        let other = [("tokenizer.json".to_owned(), b"[]".to_vec())];
        let error = cache.restore_tokenizer(&other).unwrap_err();
        assert!(matches!(&error, CacheError::Io { path, .. } if path.ends_with("tokenizer/tokenizer.json")));
        assert!(!cache.tokenizer_dir().exists());
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), cache.tokenizer_dir()).unwrap();
        let error = cache.restore_tokenizer(&files).unwrap_err();
        assert!(
            matches!(&error, CacheError::Io { path, .. } if path.ends_with("tokenizer")),
            "{error}"
        );
        assert_eq!(
            fs::read_dir(outside.path()).unwrap().count(),
            0,
            "nothing is written through a link"
        );
        fs::remove_file(cache.tokenizer_dir()).unwrap();
        assert_eq!(cache.restore_tokenizer(&files).unwrap(), ["tokenizer.json"]);
        assert_eq!(cache.tokenizer_contents().unwrap(), files);
        let path = cache.tokenizer_dir().join("tokenizer.json");
        fs::write(&path, b"[]").unwrap();
        let error = cache.restore_tokenizer(&files).unwrap_err();
        assert!(
            matches!(&error, CacheError::Damaged { path: found, .. } if *found == path),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("`leadspan prepare` again"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"[]");
    }
}
