//! The contents of `inventory.json`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{CacheError, json};

/// The problem of a file that is not the listed one.
pub(crate) const OTHER: &str = "is not the file that is listed in";

/// The format of inventories.
const FORMAT: u32 = 1;

/// What a cache holds, with hashes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inventory {
    format: u32,
    /// blake3 of `identity.json`.
    pub(crate) identity: String,
    /// blake3 of the description of each part of the corpus, in order. There may be further parts.
    pub(crate) corpus: Vec<String>,
    /// The samples to replay; `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<ListedReplay>,
    /// The shards of each layer, by the name of the layer's folder and the name of the work unit.
    pub(crate) layers: BTreeMap<String, BTreeMap<String, ListedShard>>,
}

/// The cache of the samples to replay, as listed by the cache around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListedReplay {
    /// blake3 of its `identity.json`.
    pub(crate) identity: String,
    /// blake3 of the description of each part of its corpus, in order. There may be further parts.
    pub(crate) corpus: Vec<String>,
}

/// A shard as it was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListedShard {
    pub(crate) bytes: u64,
    /// blake3 of the whole file.
    pub(crate) blake3: String,
    /// blake3 of its tail, which has the hashes of everything else in the file; `None` if its receipt is older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tail_blake3: Option<String>,
}

/// The listed parts of a corpus, and the inventory that lists them.
#[derive(Clone, Debug)]
pub(crate) struct ListedParts {
    pub(crate) hashes: Vec<String>,
    pub(crate) inventory: PathBuf,
}

impl Inventory {
    /// An inventory of a cache with this identity, which lists nothing else yet.
    pub(super) fn of(identity: String) -> Self {
        Self {
            format: FORMAT,
            identity,
            corpus: Vec::new(),
            replay: None,
            layers: BTreeMap::new(),
        }
    }

    /// The path of a cache's inventory, whether it exists or not.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("inventory.json")
    }

    /// Reads the inventory of the cache in `dir`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`CacheError::BadJson`] or [`CacheError::UnsupportedVersion`] if it is damaged; [`CacheError::Io`] if it cannot be
    /// read.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, CacheError> {
        let path = Self::path(dir);
        let Some(bytes) = json::read(&path)? else {
            return Ok(None);
        };
        json::from_bytes_of(&bytes, &path, &[FORMAT]).map(Some)
    }

    /// What it lists of a shard; `None` if it does not list it.
    pub(crate) fn shard(&self, layer: &str, unit: &str) -> Option<&ListedShard> {
        self.layers.get(layer)?.get(unit)
    }
}

impl ListedParts {
    /// Compares the hash of a part's description.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unlisted`] if another one is listed.
    pub(crate) fn check(&self, part: usize, description: &Path, blake3: &str) -> Result<(), CacheError> {
        match self.hashes.get(part) {
            Some(listed) if listed != blake3 => Err(CacheError::Unlisted {
                path: description.to_owned(),
                problem: OTHER,
                inventory: self.inventory.clone(),
            }),
            _ => Ok(()),
        }
    }
}
