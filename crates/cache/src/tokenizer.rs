//! The tokenizer's files in a cache, compared with their hashes before anybody uses them.

use std::path::Path;

use leadspan_files::read_unlinked;

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
}
