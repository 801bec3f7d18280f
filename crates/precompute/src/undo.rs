//! Removing a cache that was made and then could not be filled.

use std::{
    fs,
    path::{Path, PathBuf},
};

use leadspan_cache::{Cache, CacheError, Identity};

/// The state of the cache's folder before preparing.
pub(crate) struct Before {
    dir: PathBuf,
    state: State,
    /// Folders that did not exist, innermost first.
    missing: Vec<PathBuf>,
}

enum State {
    /// It held a cache.
    Cache,
    /// It held something else.
    Occupied,
    /// It was empty or did not exist.
    Empty,
}

impl Before {
    pub(crate) fn look(dir: &Path) -> Self {
        let state = if dir.join("identity.json").exists() {
            State::Cache
        } else if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            State::Occupied
        } else {
            State::Empty
        };
        let folders = dir.ancestors().filter(|folder| !folder.as_os_str().is_empty());
        let missing = folders
            .take_while(|folder| !folder.exists())
            .map(Path::to_owned)
            .collect();
        Self {
            dir: dir.to_owned(),
            state,
            missing,
        }
    }

    /// Removes what preparing made, unless the cache existed before, belongs to another process, or has a corpus now.
    ///
    /// Files that cannot be removed stay, because the failure that led here is the one to report.
    pub(crate) fn restore(&self, identity: &Identity) {
        if matches!(self.state, State::Cache) {
            return;
        }
        match Cache::open(&self.dir) {
            Ok(cache) if cache.identity() == identity && matches!(cache.corpus(), Ok(None)) => {
                // A cache is not made where others have a corpus. This goes while it is one, so that no corpus is left without.
                let _ = fs::remove_dir_all(self.dir.join("corpus"));
            }
            Err(CacheError::NotACache { .. }) => {}
            _ => return,
        }
        // This goes next, so that no process takes the rest for a cache.
        let _ = fs::remove_file(self.dir.join("identity.json"));
        if matches!(self.state, State::Empty) {
            for folder in ["tokenizer", "corpus", ".claims"] {
                let _ = fs::remove_dir_all(self.dir.join(folder));
            }
        }
        for folder in &self.missing {
            // The system refuses this if the folder holds anything else.
            let _ = fs::remove_dir(folder);
        }
    }
}
