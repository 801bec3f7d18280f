//! What is left of the cache that an import has begun if its files are refused: nothing.
//!
//! The hash of the files is part of the cache's identity, so that files that were mended could never go into this cache. A cache
//! that an earlier call began stays.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Cache,
    cache::{FOLDERS, IDENTITY},
    inventory::Inventory,
};

/// A folder before an import.
pub(super) struct Begun {
    dir: PathBuf,
    had_folder: bool,
    had_cache: bool,
}

impl Begun {
    /// Looks at `dir` before a cache is made there.
    pub(super) fn new(dir: &Path) -> Self {
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        Self {
            dir: dir.to_owned(),
            had_folder: is_there(dir),
            had_cache: is_there(&dir.join(IDENTITY)),
        }
    }

    /// Removes the cache that was made since, the identity last but for the tokenizer, as a cache was made. Call this while its
    /// lock is held. What cannot be removed stays, and so do files that are not a cache's.
    pub(super) fn remove_cache(&self, cache: &Cache) {
        if self.had_cache {
            return;
        }
        let [tokenizer, folders @ ..] = FOLDERS.map(|name| self.dir.join(name));
        let _ = fs::remove_file(Inventory::path(&self.dir));
        for folder in folders {
            let _ = fs::remove_dir_all(folder);
        }
        let _ = fs::remove_file(self.dir.join(IDENTITY));
        for name in cache.tokenizer_files().keys() {
            let _ = fs::remove_file(tokenizer.join(name));
        }
        let _ = fs::remove_dir(tokenizer);
    }

    /// Removes the folder if it was made since and nothing is left in it. Call this when the lock is released.
    pub(super) fn remove_folder(&self) {
        if !self.had_folder {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}
