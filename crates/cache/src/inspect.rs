//! The contents of a cache in numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use leadspan_sequence::{LeadSpanProportion, SectionSet, Split};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    Band, Cache, CacheError, FORMAT_VERSION, Identity, LayerDir, PreparedCorpus, Receipt, cut::origin,
    inventory::Inventory, json, layers::reach,
};

/// The contents of a cache in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The cache's folder.
    #[serde(serialize_with = "as_text")]
    pub dir: PathBuf,
    /// The version of the format.
    pub format: u32,
    /// The identity of the cache: what its distributions mean.
    pub identity: Identity,
    /// blake3 of the inventory, which covers everything that it lists; `None` if the cache has none yet.
    pub inventory_blake3: Option<String>,
    /// What the cache was cut from or merged of; `None` if it was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Value>,
    /// The prepared corpus; `None` if there is none yet.
    pub corpus: Option<CorpusInspection>,
    /// The samples to replay; `None` if none were prepared.
    pub replay: Option<CorpusInspection>,
    /// For each section, the largest proportion of training samples that complete layers together hold.
    pub serves: BTreeMap<&'static str, LeadSpanProportion>,
    /// The layers, ordered by the names of their folders.
    pub layers: Vec<LayerInspection>,
}

/// Serializes a path as text. One that is not Unicode must not fail.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The prepared corpus in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorpusInspection {
    /// Number of training samples.
    pub train_samples: u64,
    /// Number of validation samples.
    pub validation_samples: u64,
    /// Number of tokens of all samples, whole.
    pub tokens: u64,
    /// Number of work units.
    pub units: u64,
    /// Number of samples of a full work unit.
    pub samples_per_shard: u32,
}

/// One layer in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerInspection {
    /// The name of the layer's folder.
    pub name: String,
    /// The bands of the layer.
    pub bands: Vec<Band>,
    /// Number of work units.
    pub units: u64,
    /// Number of committed units that can be used.
    pub units_committed: u64,
    /// Whether all units are committed and can be used.
    pub complete: bool,
    /// Number of samples of these units that have positions in this layer.
    pub samples: u64,
    /// Number of stored positions.
    pub positions: u64,
    /// Number of stored entries of all positions.
    pub entries: u64,
    /// Size of all shards in bytes, without receipts.
    pub shard_bytes: u64,
    /// Bytes of shards for each stored position; `None` if there are no positions.
    pub bytes_per_position: Option<f64>,
    /// Entries for each stored position; `None` if there are no positions.
    pub entries_per_position: Option<f64>,
    /// Mean probability of a position's stored entries; `None` if there are no positions.
    pub mean_retained_mass: Option<f64>,
    /// Whether `entries` and `mean_retained_mass` are estimates, because blocks were copied without decoding them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// The kinds of devices that computed the shards.
    pub device_classes: BTreeSet<String>,
    /// An error message for each unit that looks committed but cannot be used.
    pub unusable: Vec<String>,
}

impl Cache {
    /// Counts what the cache holds. Reads receipts but no shard.
    ///
    /// Damaged receipts, and shards whose size differs from their receipt, are [listed](LayerInspection::unusable).
    /// [`verify`](crate::verify) finds other damage.
    ///
    /// # Errors
    ///
    /// The error of a corpus, or of a description of a layer, that is damaged.
    pub fn inspect(&self) -> Result<Inspection, CacheError> {
        let corpus = self.corpus()?;
        let layers = if corpus.is_some() { self.layers()? } else { Vec::new() };
        let inspections: Vec<LayerInspection> = layers.iter().map(inspect_layer).collect::<Result<_, _>>()?;
        let complete = layers
            .iter()
            .zip(&inspections)
            .filter(|(_, inspection)| inspection.complete)
            .map(|(dir, _)| dir.layer());
        let served = |section| Some((section, reach(complete.clone(), section)?));
        let serves = SectionSet::ALL.iter().filter_map(served);
        Ok(Inspection {
            dir: self.dir().to_owned(),
            format: FORMAT_VERSION,
            identity: self.identity().clone(),
            inventory_blake3: inventory_blake3(self)?,
            origin: origin::stored(self.dir())?,
            corpus: corpus.as_ref().map(inspect_corpus),
            replay: match self.replay()? {
                Some(replay) => replay.corpus()?.as_ref().map(inspect_corpus),
                None => None,
            },
            serves: serves
                .map(|(section, proportion)| (section.as_str(), proportion))
                .collect(),
            layers: inspections,
        })
    }
}

fn inventory_blake3(cache: &Cache) -> Result<Option<String>, CacheError> {
    let bytes = json::read(&Inventory::path(cache.dir()))?;
    Ok(bytes.map(|bytes| blake3::hash(&bytes).to_hex().to_string()))
}

fn inspect_corpus(corpus: &PreparedCorpus) -> CorpusInspection {
    CorpusInspection {
        train_samples: corpus.of_split(Split::Train).count() as u64,
        validation_samples: corpus.of_split(Split::Validation).count() as u64,
        tokens: corpus.total_tokens(),
        units: corpus.units().len() as u64,
        samples_per_shard: corpus.samples_per_shard().get(),
    }
}

fn inspect_layer(dir: &LayerDir) -> Result<LayerInspection, CacheError> {
    let corpus = dir.corpus();
    let mut inspection = LayerInspection {
        name: dir.layer().folder_name(),
        bands: dir.layer().bands().to_vec(),
        units: corpus.units().len() as u64,
        units_committed: 0,
        complete: false,
        samples: 0,
        positions: 0,
        entries: 0,
        shard_bytes: 0,
        bytes_per_position: None,
        entries_per_position: None,
        mean_retained_mass: None,
        estimated: false,
        device_classes: BTreeSet::new(),
        unusable: Vec::new(),
    };
    let missing = dir.missing_units()?;
    let mut retained_mass = 0.0;
    for unit in corpus.units().iter().filter(|unit| !missing.contains(unit)) {
        let receipt = Receipt::read(dir, unit).and_then(|receipt| {
            dir.check_size(unit, &receipt)?;
            Ok(receipt)
        });
        match receipt {
            Ok(receipt) => {
                let samples = corpus.samples_of(unit.samples.clone());
                let held = samples.filter(|&sample| dir.layer().position_count(sample) > 0);
                inspection.units_committed += 1;
                inspection.samples += held.count() as u64;
                inspection.shard_bytes += receipt.shard_bytes();
                inspection.positions += receipt.positions;
                inspection.entries += receipt.entries;
                retained_mass += receipt.retained_mass;
                inspection.estimated |= receipt.estimated;
                inspection.device_classes.extend(receipt.device_class);
            }
            Err(error) => inspection.unusable.push(error.to_string()),
        }
    }
    let per_position = |amount: f64| (inspection.positions > 0).then(|| amount / inspection.positions as f64);
    inspection.bytes_per_position = per_position(inspection.shard_bytes as f64);
    inspection.entries_per_position = per_position(inspection.entries as f64);
    inspection.mean_retained_mass = per_position(retained_mass);
    inspection.complete = inspection.units_committed == inspection.units;
    Ok(inspection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use std::fs;

    #[test]
    fn an_inspection_counts_what_is_there() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = &captured.cache.layers().unwrap()[0];
        let inspection = captured.cache.inspect().unwrap();
        let corpus = inspection.corpus.unwrap();
        assert_eq!(
            (corpus.train_samples, corpus.validation_samples, corpus.units),
            (11, 3, 4)
        );
        let [half] = &inspection.layers[..] else {
            panic!("one layer was captured")
        };
        let positions: usize = layer
            .corpus()
            .samples()
            .map(|sample| layer.layer().position_count(sample))
            .sum();
        assert_eq!(half.positions, positions as u64);
        let bytes: u64 = layer
            .corpus()
            .units()
            .iter()
            .map(|unit| fs::metadata(layer.shard_path(unit)).unwrap().len())
            .sum();
        assert_eq!(half.shard_bytes, bytes);
        assert_eq!(half.bytes_per_position, Some(bytes as f64 / positions as f64));
        assert!(half.complete && half.unusable.is_empty());
    }

    #[test]
    fn missing_and_damaged_shards_are_told_apart() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = &captured.cache.layers().unwrap()[0];
        let units = layer.corpus().units();
        fs::remove_file(layer.shard_path(&units[0])).unwrap();
        fs::write(layer.shard_path(&units[1]), b"not a shard").unwrap();
        let half = &captured.cache.inspect().unwrap().layers[0];
        assert_eq!((half.units_committed, half.units, half.complete), (2, 4, false));
        assert_eq!(half.unusable.len(), 1, "{:?}", half.unusable);
        assert!(half.unusable[0].contains("train-000001.parquet"), "{:?}", half.unusable);
    }

    #[test]
    fn an_empty_cache_can_be_inspected() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let text = serde_json::to_string(&cache.inspect().unwrap()).unwrap();
        assert!(
            text.contains(r#""corpus":null"#) && text.contains(r#""layers":[]"#),
            "{text}"
        );
    }
}
