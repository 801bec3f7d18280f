//! The layers of a cache, complete or not.

use std::{fs, io, path::PathBuf, sync::Arc};

use super::{
    elsewhere::Elsewhere,
    folder::{LayerDir, require_own},
    layer::Layer,
};
use crate::{Cache, CacheError, PreparedCorpus};

/// The folder of the layers, inside a cache's folder.
const LAYERS: &str = "layers";

impl Cache {
    /// The cache with work units that are committed elsewhere, such as in a store. They count as committed when it is decided what
    /// is left to capture, and cannot be read here.
    #[must_use]
    pub fn beside(mut self, elsewhere: Arc<Elsewhere>) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    fn layers_dir(&self) -> PathBuf {
        self.dir().join(LAYERS)
    }

    /// Opens a layer to write shards into, and creates its folder if there is none yet.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] if there is no corpus; [`CacheError::Io`] if the file system refuses.
    pub fn layer(&self, layer: &Layer) -> Result<LayerDir, CacheError> {
        let corpus = self.require_corpus()?;
        LayerDir::create_or_open(&self.layers_dir(), layer.clone(), corpus, self)
    }

    /// All layers that have been started, ordered by the names of their folders.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] if there is no corpus, or the error of a layer whose description is damaged or whose
    /// folder is a link.
    pub fn layers(&self) -> Result<Vec<LayerDir>, CacheError> {
        self.layers_of(&self.require_corpus()?)
    }

    /// A layer of `corpus` that may not exist yet. Creates nothing.
    pub(super) fn planned_layer(&self, layer: Layer, corpus: PreparedCorpus) -> LayerDir {
        LayerDir::planned(&self.layers_dir(), layer, corpus, self)
    }

    /// All layers that have been started, as layers of `corpus`.
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
        folders.iter().try_for_each(|folder| require_own(folder))?;
        folders
            .iter()
            .filter_map(|folder| LayerDir::open(folder, corpus, self).transpose())
            .collect()
    }
}
