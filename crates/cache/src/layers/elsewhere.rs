//! Work units that are committed in another place, such as a store, and are not here.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// The names of work units that are committed elsewhere, by the names of their layers' folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    layers: BTreeMap<String, Arc<HashSet<String>>>,
}

impl Elsewhere {
    /// How many work units there are.
    pub fn units(&self) -> usize {
        self.layers.values().map(|units| units.len()).sum()
    }

    /// The work units of a layer, by the name of its folder.
    pub(crate) fn of(&self, layer: &str) -> Arc<HashSet<String>> {
        self.layers.get(layer).map(Arc::clone).unwrap_or_default()
    }
}

impl FromIterator<(String, String)> for Elsewhere {
    /// Collects pairs of a layer's folder, such as `0-0.5-answer`, and a work unit, such as `train-000004`.
    fn from_iter<T: IntoIterator<Item = (String, String)>>(units: T) -> Self {
        let mut layers: BTreeMap<String, HashSet<String>> = BTreeMap::new();
        for (layer, unit) in units {
            layers.entry(layer).or_default().insert(unit);
        }
        let shared = layers.into_iter().map(|(layer, units)| (layer, Arc::new(units)));
        Self {
            layers: shared.collect(),
        }
    }
}
