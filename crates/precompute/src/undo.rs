//! Taking back a cache that was made and then could not be filled.

use std::{
    fs,
    path::{Path, PathBuf},
};

use leadspan_cache::{Cache, CacheError, Identity};

/// How the cache's folder looked before anything was done to it.
pub(crate) struct Before {
    dir: PathBuf,
    state: State,
    /// Folders that were not there, the innermost first.
    missing: Vec<PathBuf>,
}

enum State {
    /// There was a cache.
    Cache,
    /// There was a folder with something in it.
    Occupied,
    /// There was an empty folder, or none.
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

    /// Removes what preparing made, unless the cache was there before, is another process's, or holds a corpus by now.
    ///
    /// What cannot be removed stays: the failure that led here is the one to report.
    pub(crate) fn restore(&self, identity: &Identity) {
        if matches!(self.state, State::Cache) {
            return;
        }
        match Cache::open(&self.dir) {
            Ok(cache) if cache.identity() == identity && matches!(cache.corpus(), Ok(None)) => {}
            Err(CacheError::NotACache { .. }) => {}
            _ => return,
        }
        // First of all, so that no process takes the rest for a cache.
        let _ = fs::remove_file(self.dir.join("identity.json"));
        if matches!(self.state, State::Empty) {
            for folder in ["tokenizer", "corpus", ".claims"] {
                let _ = fs::remove_dir_all(self.dir.join(folder));
            }
        }
        for folder in &self.missing {
            // Refused where something else has been put there.
            let _ = fs::remove_dir(folder);
        }
    }
}
