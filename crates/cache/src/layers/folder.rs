//! The folder of a layer: its description, the paths of its shards, and which of them are committed.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use leadspan_distribution::codec;
use leadspan_files::{Clearing, commit_bytes, create_folder, require_own_folder};
use serde::{Deserialize, Serialize};

use crate::{
    Cache, CacheError, FORMAT_VERSION, Identity, Layer, PreparedCorpus, WorkUnit,
    inventory::{Inventory, ListedShard},
    json,
};

pub(crate) const DESCRIPTION: &str = "layer.json";

/// The contents of `layer.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    bands: Layer,
}

/// One layer of one cache. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct LayerDir {
    folder: PathBuf,
    layer: Arc<Layer>,
    corpus: PreparedCorpus,
    identity: Arc<Identity>,
    identity_fingerprint: Arc<str>,
    inventory: Option<Arc<Inventory>>,
    clearing: Arc<Clearing>,
    /// Whether its shards lie elsewhere.
    is_frame: bool,
    /// Its work units that need not be committed here.
    elsewhere: Arc<HashSet<String>>,
}

impl LayerDir {
    /// Opens the layer in the folder `layers`, or creates it there.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the file system refuses, or if the layer's folder is a link.
    pub(crate) fn create_or_open(
        layers: &Path,
        layer: Layer,
        corpus: PreparedCorpus,
        cache: &Cache,
    ) -> Result<Self, CacheError> {
        let folder = layers.join(layer.folder_name());
        require_own(&folder)?;
        let path = folder.join(DESCRIPTION);
        if fs::symlink_metadata(&path).is_err() {
            create_folder(&folder)?;
            let description = Description {
                format: FORMAT_VERSION,
                bands: layer.clone(),
            };
            commit_bytes(&path, &json::to_bytes(&description))?;
        }
        Ok(Self::new(folder, layer, corpus, cache))
    }

    /// Opens the layer in `folder`; `None` if the folder has no description yet.
    ///
    /// # Errors
    ///
    /// [`CacheError::BadJson`], [`CacheError::UnsupportedVersion`] or [`CacheError::Inconsistent`] if the description
    /// is damaged or belongs to another folder; [`CacheError::Io`] if it cannot be read.
    pub(crate) fn open(folder: &Path, corpus: &PreparedCorpus, cache: &Cache) -> Result<Option<Self>, CacheError> {
        let path = folder.join(DESCRIPTION);
        let Some(bytes) = json::read(&path)? else {
            return Ok(None);
        };
        let Description { bands: layer, .. } = json::from_bytes(&bytes, &path)?;
        if folder.file_name().is_none_or(|name| *name != *layer.folder_name()) {
            let problem = format!("it describes the layer `{}`", layer.folder_name());
            return Err(CacheError::Inconsistent { path, problem });
        }
        Ok(Some(Self::new(folder.to_owned(), layer, corpus.clone(), cache)))
    }

    /// A layer that may not exist yet, in the folder `layers`. Creates nothing.
    pub(crate) fn planned(layers: &Path, layer: Layer, corpus: PreparedCorpus, cache: &Cache) -> Self {
        Self::new(layers.join(layer.folder_name()), layer, corpus, cache)
    }

    fn new(folder: PathBuf, layer: Layer, corpus: PreparedCorpus, cache: &Cache) -> Self {
        let identity = Arc::clone(&cache.identity);
        let identity_fingerprint = identity.fingerprint().into();
        let elsewhere = cache.elsewhere.of(&layer.folder_name());
        Self {
            folder,
            layer: Arc::new(layer),
            corpus,
            identity,
            identity_fingerprint,
            inventory: cache.inventory.clone(),
            clearing: Arc::default(),
            is_frame: cache.is_frame,
            elsewhere,
        }
    }

    /// The bands that the layer holds.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Refuses to write into the layer if its folder is a link: files must not land somewhere else.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] with the folder.
    pub(crate) fn require_own_folder(&self) -> Result<(), CacheError> {
        require_own(&self.folder)
    }

    /// The layer's folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The corpus that its distributions belong to.
    pub fn corpus(&self) -> &PreparedCorpus {
        &self.corpus
    }

    /// The identity of the cache.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The layout of its coded distributions.
    pub(crate) fn codec_layout(&self) -> codec::Layout {
        codec::Layout::new(&self.identity.entries, self.identity.precision)
    }

    /// The fingerprint of the cache's identity.
    pub(crate) fn identity_fingerprint(&self) -> &str {
        &self.identity_fingerprint
    }

    /// What the cache's inventory lists of the shard of a work unit; `None` if it does not list it.
    pub(crate) fn listed(&self, unit: &WorkUnit) -> Option<&ListedShard> {
        let inventory = self.inventory.as_ref()?;
        inventory.shard(&self.layer.folder_name(), &unit.to_string())
    }

    /// Whether its shards lie elsewhere, so that receipts alone are looked at.
    pub(crate) fn is_frame(&self) -> bool {
        self.is_frame
    }

    /// Whether a work unit is committed elsewhere.
    pub(crate) fn is_elsewhere(&self, unit: &WorkUnit) -> bool {
        !self.elsewhere.is_empty() && self.elsewhere.contains(&unit.to_string())
    }

    /// The path of the cache's inventory, whether it exists or not.
    pub(crate) fn inventory_path(&self) -> PathBuf {
        // The folder of a layer is in the folder of the layers, which is in that of the cache.
        Inventory::path(self.folder.parent().and_then(Path::parent).unwrap_or(&self.folder))
    }

    /// Decides when a writer of this layer removes the temporary files of dead writers.
    pub(crate) fn clearing(&self) -> &Clearing {
        &self.clearing
    }

    /// The path of the shard of a work unit, whether it exists or not.
    pub fn shard_path(&self, unit: &WorkUnit) -> PathBuf {
        self.folder.join(format!("{unit}.parquet"))
    }

    /// The path of the receipt of a work unit, whether it exists or not.
    pub fn receipt_path(&self, unit: &WorkUnit) -> PathBuf {
        self.folder.join(format!("{unit}.json"))
    }

    /// The work units that have no shard or no receipt yet and are not committed [elsewhere](Cache::beside), in order. Lists the
    /// folder once and opens no file: see [`is_committed`](Self::is_committed).
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the folder cannot be listed.
    pub fn missing_units(&self) -> Result<Vec<WorkUnit>, CacheError> {
        let names = self.names()?;
        let there = |unit: &WorkUnit| {
            let has = |extension| names.contains(&format!("{unit}.{extension}"));
            has("json") && (self.is_frame || has("parquet"))
        };
        let units = self.corpus.units().iter();
        Ok(units
            .filter(|unit| !there(unit) && !self.is_elsewhere(unit))
            .cloned()
            .collect())
    }

    /// The error for a layer that lacks these work units.
    pub(crate) fn incomplete(&self, missing: &[WorkUnit]) -> CacheError {
        CacheError::IncompleteLayer {
            path: self.folder.clone(),
            missing: missing.len(),
            units: self.corpus.units().len(),
            first: missing.first().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// The names of the files in the layer's folder; none if the folder does not exist yet.
    pub(crate) fn names(&self) -> Result<HashSet<String>, CacheError> {
        let failed = || CacheError::io("list", &self.folder);
        let mut names = HashSet::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries.map_err(failed())?,
        };
        for entry in entries {
            names.extend(entry.map_err(failed())?.file_name().into_string().ok());
        }
        Ok(names)
    }
}

pub(super) fn require_own(folder: &Path) -> Result<(), CacheError> {
    require_own_folder(folder).map_err(CacheError::io("use", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_sequence::SectionSet;

    #[test]
    fn a_folder_under_a_wrong_name_is_refused_and_one_without_description_is_no_layer() {
        let folder = tempfile::tempdir().unwrap();
        let prepared = synthetic::prepared(1, 1, 1);
        let (cache, corpus) = (&prepared.cache, prepared.cache.require_corpus().unwrap());
        let layer = Layer::from(synthetic::coverage("0.5", SectionSet::ALL));
        let made = LayerDir::create_or_open(folder.path(), layer.clone(), corpus.clone(), cache).unwrap();
        let open = |path: &Path| LayerDir::open(path, &corpus, cache);
        assert_eq!(open(made.path()).unwrap().unwrap().layer(), &layer);
        let moved = folder.path().join("0-1.0-answer");
        fs::rename(made.path(), &moved).unwrap();
        assert!(matches!(open(&moved), Err(CacheError::Inconsistent { .. })));
        fs::remove_file(moved.join(DESCRIPTION)).unwrap();
        assert!(open(&moved).unwrap().is_none());
    }
}
