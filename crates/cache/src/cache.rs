//! A cache's folder: creating it and opening it.
//!
//! `corpus::stored` reads and writes the corpus of a cache, `layers::stored` its layers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use leadspan_files::{commit_bytes, create_folder, is_tokenizer_file, require_own_folder};
use leadspan_workers::{Awaited, Lock, Purpose, lock, try_lock};
use serde::{Deserialize, Serialize};

use crate::{
    CacheError, Elsewhere, FORMAT_VERSION, Identity, PreparedCorpus,
    inventory::{Inventory, ListedParts, OTHER},
    json, strangers,
};

/// The file that makes a folder a cache.
pub(crate) const IDENTITY: &str = "identity.json";
const TOKENIZER: &str = "tokenizer";

/// The folders of a cache, inside its own: first the tokenizer's.
pub(crate) const FOLDERS: [&str; 4] = [TOKENIZER, "corpus", "layers", "replay"];

/// An open cache. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    /// Shared with the layers.
    pub(crate) identity: Arc<Identity>,
    /// blake3 of `identity.json`.
    identity_blake3: String,
    /// blake3 of each file in `tokenizer/`.
    tokenizer_files: BTreeMap<String, String>,
    /// The inventory as it was when the cache was opened, shared with the layers. `None` if there was none.
    pub(crate) inventory: Option<Arc<Inventory>>,
    /// The parts that the corpus must have; `None` if no inventory lists them.
    pub(crate) listed_parts: Option<ListedParts>,
    /// Set when the prepared corpus is first read.
    pub(crate) corpus: OnceLock<PreparedCorpus>,
    /// Whether the shards lie elsewhere. Then a receipt alone shows that a work unit is committed.
    pub(crate) is_frame: bool,
    /// Work units that need not be committed here.
    pub(crate) elsewhere: Arc<Elsewhere>,
}

/// The contents of `identity.json`.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u32,
    identity: Identity,
    tokenizer_files: BTreeMap<String, String>,
}

impl Cache {
    /// Opens an existing cache.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotACache`] if the folder holds no cache; [`CacheError::BadJson`],
    /// [`CacheError::UnsupportedVersion`] or [`CacheError::Inconsistent`] if its `identity.json` or its inventory is
    /// damaged; [`CacheError::Unlisted`] if the inventory lists another `identity.json`; [`CacheError::Io`] if one of its own
    /// folders is a link.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        Self::open_if_there(dir)?.ok_or_else(|| CacheError::NotACache { path: dir.to_owned() })
    }

    /// Opens the cache again, as it is on disk now. What the cache around it lists of it stays.
    pub(crate) fn reopen(&self) -> Result<Self, CacheError> {
        let mut cache = Self::open(&self.dir)?;
        if cache.inventory.is_none() {
            cache.listed_parts.clone_from(&self.listed_parts);
        }
        Ok(cache)
    }

    /// Opens the cache in `dir`, or creates one with this identity.
    ///
    /// Processes that create the same cache wait for each other. The cache exists once `identity.json` is committed,
    /// which happens after the tokenizer files.
    ///
    /// # Errors
    ///
    /// [`CacheError::IdentityMismatch`] if the folder holds a cache with another identity; [`CacheError::Occupied`] if it
    /// holds none, but files that a cache would replace; [`CacheError::NotATokenizerFile`]
    /// if a tokenizer file has a name that is not in [`leadspan_files::TOKENIZER_FILES`]; [`CacheError::Io`] if the folder cannot
    /// be written, or if one of its own folders is a link.
    pub fn create_or_open(
        dir: &Path,
        identity: &Identity,
        tokenizer_files: &[(String, Vec<u8>)],
    ) -> Result<Self, CacheError> {
        Self::create_or_open_telling(dir, identity, tokenizer_files, &mut |_| {})
    }

    /// Like [`create_or_open`](Self::create_or_open). While it waits, it calls `waiting` regularly with the process
    /// that it waits for.
    ///
    /// # Errors
    ///
    /// Those of [`create_or_open`](Self::create_or_open).
    pub fn create_or_open_telling(
        dir: &Path,
        identity: &Identity,
        tokenizer_files: &[(String, Vec<u8>)],
        waiting: &mut dyn FnMut(&Awaited),
    ) -> Result<Self, CacheError> {
        require_own_folders(dir)?;
        let cache = match Self::open_if_there(dir)? {
            Some(cache) => cache,
            None => Self::create(dir, identity, tokenizer_files, waiting)?,
        };
        cache.require_identity(identity)?;
        Ok(cache)
    }

    /// Checks that the cache's distributions mean what `identity` says.
    ///
    /// # Errors
    ///
    /// [`CacheError::IdentityMismatch`] with the first field that differs; [`CacheError::Imported`] of an imported cache.
    pub fn require_identity(&self, identity: &Identity) -> Result<(), CacheError> {
        match self.identity.first_difference(identity) {
            None => Ok(()),
            Some(difference) => Err(CacheError::other_identity(&self.dir, &self.identity, difference)),
        }
    }

    pub(crate) fn open_if_there(dir: &Path) -> Result<Option<Self>, CacheError> {
        let path = dir.join(IDENTITY);
        let Some(bytes) = json::read(&path)? else {
            return Ok(None);
        };
        require_own_folders(dir)?;
        let IdentityFile {
            identity,
            tokenizer_files,
            ..
        } = json::from_bytes(&bytes, &path)?;
        // Programs read these files by their names, and an export copies them.
        if let Some(name) = tokenizer_files.keys().find(|name| !is_tokenizer_file(name)) {
            let problem = format!("`{}` is not the name of a tokenizer file", name.escape_debug());
            return Err(CacheError::Inconsistent { path, problem });
        }
        let identity_blake3 = blake3::hash(&bytes).to_hex().to_string();
        let inventory = Inventory::read(dir)?;
        if let Some(inventory) = &inventory
            && inventory.identity != identity_blake3
        {
            return Err(CacheError::Unlisted {
                path,
                problem: OTHER,
                inventory: Inventory::path(dir),
            });
        }
        let listed_parts = inventory.as_ref().map(|inventory| ListedParts {
            hashes: inventory.corpus.clone(),
            inventory: Inventory::path(dir),
        });
        Ok(Some(Self {
            dir: dir.to_owned(),
            identity: Arc::new(identity),
            identity_blake3,
            tokenizer_files,
            inventory: inventory.map(Arc::new),
            listed_parts,
            corpus: OnceLock::new(),
            is_frame: false,
            elsewhere: Arc::default(),
        }))
    }

    fn create(
        dir: &Path,
        identity: &Identity,
        tokenizer_files: &[(String, Vec<u8>)],
        waiting: &mut dyn FnMut(&Awaited),
    ) -> Result<Self, CacheError> {
        if let Some((name, _)) = tokenizer_files.iter().find(|(name, _)| !is_tokenizer_file(name)) {
            return Err(CacheError::NotATokenizerFile { name: name.clone() });
        }
        create_folder(dir)?;
        let _lock = lock(dir, Purpose::Preparing, waiting)?;
        if let Some(cache) = Self::open_if_there(dir)? {
            return Ok(cache);
        }
        strangers::require_none(dir, &FOLDERS, tokenizer_files)?;
        let tokenizer_dir = dir.join(TOKENIZER);
        create_folder(&tokenizer_dir)?;
        let mut hashes = BTreeMap::new();
        for (name, bytes) in tokenizer_files {
            commit_bytes(&tokenizer_dir.join(name), bytes)?;
            hashes.insert(name.clone(), blake3::hash(bytes).to_hex().to_string());
        }
        let file = IdentityFile {
            format: FORMAT_VERSION,
            identity: identity.clone(),
            tokenizer_files: hashes,
        };
        commit_bytes(&dir.join(IDENTITY), &json::to_bytes(&file))?;
        Self::open(dir)
    }

    /// Takes the lock that one process at a time holds while it prepares this cache, unless another process holds it.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the folder is gone or cannot be written.
    pub fn lock_for_preparing(&self) -> Result<Lock, CacheError> {
        Ok(try_lock(&self.dir, Purpose::Preparing)?)
    }

    /// The cache's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the stored distributions mean: the teacher, the tokenizer and the settings.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// blake3 of `identity.json`.
    pub(crate) fn identity_blake3(&self) -> &str {
        &self.identity_blake3
    }

    /// The inventory as it was when the cache was opened; `None` if there was none.
    pub(crate) fn inventory(&self) -> Option<&Inventory> {
        self.inventory.as_deref()
    }

    /// The folder with the tokenizer's files.
    pub fn tokenizer_dir(&self) -> PathBuf {
        self.dir.join(TOKENIZER)
    }

    /// The tokenizer's files, each with the blake3 of its bytes.
    pub fn tokenizer_files(&self) -> &BTreeMap<String, String> {
        &self.tokenizer_files
    }
}

/// Refuses a cache one of whose folders is a link: what is read or written there would be somewhere else. The cache's own folder
/// may be a link.
fn require_own_folders(dir: &Path) -> Result<(), CacheError> {
    let mut folders = FOLDERS.iter().filter(|_| dir.is_dir()).map(|folder| dir.join(folder));
    folders.try_for_each(|folder| require_own_folder(&folder).map_err(CacheError::io("use", &folder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_diagnosis::Diagnosis as _;
    use std::fs;

    fn tokenizer() -> Vec<(String, Vec<u8>)> {
        vec![("tokenizer.json".to_owned(), b"{}".to_vec())]
    }

    #[test]
    fn a_cache_is_made_once_and_opened_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("deep").join("cache");
        assert!(matches!(Cache::open(&dir), Err(CacheError::NotACache { .. })));
        Cache::create_or_open(&dir, &synthetic::identity(), &tokenizer()).unwrap();
        let before = fs::read(dir.join(IDENTITY)).unwrap();
        let again = Cache::create_or_open(&dir, &synthetic::identity(), &[]).unwrap();
        assert_eq!(fs::read(dir.join(IDENTITY)).unwrap(), before);
        assert_eq!(fs::read(again.tokenizer_dir().join("tokenizer.json")).unwrap(), b"{}");
        assert_eq!(Cache::open(&dir).unwrap().identity(), &synthetic::identity());
        assert_eq!(
            again.tokenizer_files()["tokenizer.json"],
            blake3::hash(b"{}").to_hex().as_str()
        );
    }

    #[test]
    fn another_identity_is_refused_with_both_values_and_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let mut other = synthetic::identity();
        other.entries.top_k = 128;
        let error = Cache::create_or_open(folder.path(), &other, &[]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("was made with top_k `512`, but `128` is asked for"),
            "{text}"
        );
        assert!(error.hint().unwrap().contains("cache.top_k = 512") && !error.is_unexpected());
    }

    #[test]
    fn only_files_of_a_tokenizer_are_stored_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("cache");
        for name in [
            "../evil",
            "a/b",
            "..",
            "",
            "/etc/passwd",
            ".lock",
            "config.json",
            "evil.py",
        ] {
            let files = [(name.to_owned(), Vec::new())];
            let result = Cache::create_or_open(&dir, &synthetic::identity(), &files);
            assert!(matches!(result, Err(CacheError::NotATokenizerFile { .. })), "{name}");
        }
        assert!(!dir.exists());
    }

    #[test]
    fn an_identity_that_names_other_files_than_a_tokenizers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Cache::create_or_open(folder.path(), &synthetic::identity(), &tokenizer()).unwrap();
        let path = folder.path().join(IDENTITY);
        let sound = fs::read_to_string(&path).unwrap();
        for name in [
            "../identity.json",
            "/etc/passwd",
            "inside/tokenizer.json",
            "..",
            ".hidden",
            "",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "evil.py",
            "Tokenizer.json",
            "tokenizer.json\n",
            "\u{1b}[31mtokenizer.json",
            "\u{202e}nosj.rezinekot",
        ] {
            let written = serde_json::to_string(name).unwrap();
            fs::write(&path, sound.replace("\"tokenizer.json\"", &written)).unwrap();
            let error = Cache::open(folder.path()).unwrap_err();
            assert!(matches!(error, CacheError::Inconsistent { .. }), "{name}: {error}");
            assert!(
                error.to_string().contains(&format!("`{}`", name.escape_debug()))
                    && !error.is_unexpected()
                    && error.hint().is_some(),
                "{error}"
            );
        }
        fs::write(&path, sound).unwrap();
        Cache::open(folder.path()).unwrap();
    }

    #[test]
    fn tokenizer_files_without_an_identity_are_no_cache() {
        let folder = tempfile::tempdir().unwrap();
        Cache::create_or_open(folder.path(), &synthetic::identity(), &tokenizer()).unwrap();
        fs::remove_file(folder.path().join(IDENTITY)).unwrap();
        assert!(matches!(Cache::open(folder.path()), Err(CacheError::NotACache { .. })));
        Cache::create_or_open(folder.path(), &synthetic::identity(), &tokenizer()).unwrap();
        Cache::open(folder.path()).unwrap();
    }

    #[test]
    fn damaged_and_newer_identities_give_their_errors() {
        let folder = tempfile::tempdir().unwrap();
        Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let path = folder.path().join(IDENTITY);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Cache::open(folder.path()), Err(CacheError::BadJson { .. })));
        fs::write(&path, text.replace("\"format\": 2", "\"format\": 3")).unwrap();
        assert!(matches!(
            Cache::open(folder.path()),
            Err(CacheError::UnsupportedVersion { found: 3, .. })
        ));
    }

    #[test]
    fn one_process_at_a_time_prepares_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let guard = cache.lock_for_preparing().unwrap();
        assert!(matches!(guard, Lock::Locked(_)));
        assert!(matches!(cache.lock_for_preparing().unwrap(), Lock::Held(_)));
        drop(guard);
        assert!(matches!(cache.lock_for_preparing().unwrap(), Lock::Locked(_)));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_made_is_the_users_to_fix() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = Cache::create_or_open(&file.join("cache"), &synthetic::identity(), &[]).unwrap_err();
        assert!(!error.is_unexpected(), "{error}");
    }
}
