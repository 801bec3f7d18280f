//! The layers that a cache holds, complete or not.

use std::{fs, io, path::PathBuf, sync::Arc};

use super::{folder::LayerDir, layer::Layer};
use crate::{Cache, CacheError, PreparedCorpus};

/// The folder of the layers, inside a cache's.
const LAYERS: &str = "layers";

impl Cache {
    /// The folder that has one folder for each layer.
    pub(super) fn layers_dir(&self) -> PathBuf {
        self.dir().join(LAYERS)
    }

    /// The folder of a layer, made where there is none yet, to write shards into.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where there is no corpus; [`CacheError::Io`] where the file system refuses.
    pub fn layer(&self, layer: &Layer) -> Result<LayerDir, CacheError> {
        let corpus = self.require_corpus()?;
        let identity = Arc::clone(&self.identity);
        LayerDir::create_or_open(&self.layers_dir(), layer.clone(), corpus, identity)
    }

    /// The layers that were begun, ordered by the names of their folders.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where there is no corpus, and where a layer's description is damaged.
    pub fn layers(&self) -> Result<Vec<LayerDir>, CacheError> {
        self.layers_of(&self.require_corpus()?)
    }

    /// The layers that were begun, over `corpus`.
    pub(super) fn layers_of(&self, corpus: &PreparedCorpus) -> Result<Vec<LayerDir>, CacheError> {
        let path = self.layers_dir();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(CacheError::io("list", path)(error)),
        };
        let mut folders = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(CacheError::io("list", &path))?;
        folders.retain(|folder| folder.is_dir());
        folders.sort();
        folders
            .iter()
            .filter_map(|folder| LayerDir::open(folder, corpus, &self.identity).transpose())
            .collect()
    }
}
