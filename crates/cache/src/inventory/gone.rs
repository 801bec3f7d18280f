//! What an inventory lists and the cache no longer has.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use super::Inventory;
use crate::{Cache, CacheError, LayerDir, replay::REPLAY};

/// The problem of a file or a folder that is listed and not there.
const GONE: &str = "is not there, but is listed in";

/// Something listed that is not there.
pub(crate) struct Gone {
    pub(crate) error: CacheError,
    /// The files of its work unit and the manifest of the layer, if it is a shard: it can be captured again.
    pub(crate) unit: Vec<PathBuf>,
}

impl Cache {
    /// Everything that the inventory lists and that is not there, given all layers and the names of the files in their
    /// folders. Nothing if there is no inventory.
    pub(crate) fn gone(&self, layers: &[LayerDir], names: &[HashSet<String>]) -> Vec<Gone> {
        let Some(inventory) = self.inventory() else {
            return Vec::new();
        };
        let gone = |path: PathBuf, unit: Vec<PathBuf>| Gone {
            error: CacheError::Unlisted {
                path,
                problem: GONE,
                inventory: Inventory::path(self.dir()),
            },
            unit,
        };
        let mut found = Vec::new();
        if inventory.replay.is_some() && !self.has_replay() {
            found.push(gone(self.dir().join(REPLAY), Vec::new()));
        }
        let there: HashMap<String, (&LayerDir, &HashSet<String>)> = layers
            .iter()
            .zip(names)
            .map(|(layer, names)| (layer.layer().folder_name(), (layer, names)))
            .collect();
        for (name, units) in &inventory.layers {
            let Some((layer, names)) = there.get(name) else {
                found.push(gone(
                    self.dir().join("layers").join(name).join("layer.json"),
                    Vec::new(),
                ));
                continue;
            };
            for unit in units.keys() {
                let files = ["parquet", "json"].map(|end| format!("{unit}.{end}"));
                if let Some(missing) = files.iter().find(|file| !names.contains(*file)) {
                    let mut of_unit = files.each_ref().map(|file| layer.path().join(file)).to_vec();
                    of_unit.push(layer.manifest_path());
                    found.push(gone(layer.path().join(missing), of_unit));
                }
            }
        }
        found
    }
}
