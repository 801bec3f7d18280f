//! What a cache holds, in numbers.

use std::path::PathBuf;

use leadspan_sequence::{LeadSpanProportion, SectionSet, Split};
use serde::Serialize;

use crate::{Cache, CacheError, FORMAT_VERSION, Identity, LayerDir, shard::Shard};

/// What a cache holds.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Its folder.
    pub dir: PathBuf,
    /// The version of its format.
    pub format: u32,
    /// What its distributions mean.
    pub identity: Identity,
    /// The prepared corpus, if there is one.
    pub corpus: Option<CorpusInspection>,
    /// Its layers, by the names of their folders.
    pub layers: Vec<LayerInspection>,
}

/// The prepared corpus in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CorpusInspection {
    /// How many training samples there are.
    pub train_samples: u64,
    /// How many validation samples there are.
    pub validation_samples: u64,
    /// How many tokens they have, untruncated.
    pub tokens: u64,
    /// How many work units they form.
    pub units: u64,
    /// How many samples a full work unit has.
    pub samples_per_shard: u32,
}

/// One layer in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerInspection {
    /// The largest proportion of training samples it serves.
    pub proportion: LeadSpanProportion,
    /// The sections it serves.
    pub sections: SectionSet,
    /// How many work units there are.
    pub units: u64,
    /// How many of them have a sound shard.
    pub units_committed: u64,
    /// Whether that is all of them.
    pub complete: bool,
    /// The files' sizes, headers and footers included.
    pub shard_bytes: u64,
    /// Stored positions.
    pub positions: u64,
    /// Stored entries of all positions.
    pub entries: u64,
    /// Everything in the files, for each stored position; absent where there is none.
    pub bytes_per_position: Option<f64>,
    /// Entries for each stored position; absent where there is none.
    pub entries_per_position: Option<f64>,
    /// Shards that are there but cannot be used, and why.
    pub unusable: Vec<String>,
}

impl Cache {
    /// Counts what the cache holds, reading seals and footers but no rows.
    ///
    /// # Errors
    ///
    /// Where the corpus or the description of a layer is damaged. Damaged shards are listed instead.
    pub fn inspect(&self) -> Result<Inspection, CacheError> {
        let corpus = self.corpus()?;
        let layers = if corpus.is_some() { self.layers()? } else { Vec::new() };
        Ok(Inspection {
            dir: self.dir().to_owned(),
            format: FORMAT_VERSION,
            identity: self.identity().clone(),
            corpus: corpus.map(|corpus| CorpusInspection {
                train_samples: corpus.of_split(Split::Train).count() as u64,
                validation_samples: corpus.of_split(Split::Validation).count() as u64,
                tokens: corpus.total_tokens(),
                units: corpus.units().len() as u64,
                samples_per_shard: corpus.samples_per_shard().get(),
            }),
            layers: layers.iter().map(inspect_layer).collect(),
        })
    }
}

fn inspect_layer(layer: &LayerDir) -> LayerInspection {
    let mut inspection = LayerInspection {
        proportion: layer.layer().proportion,
        sections: layer.layer().sections,
        units: layer.corpus().units().len() as u64,
        units_committed: 0,
        complete: false,
        shard_bytes: 0,
        positions: 0,
        entries: 0,
        bytes_per_position: None,
        entries_per_position: None,
        unusable: Vec::new(),
    };
    for unit in layer.corpus().units().iter().filter(|unit| layer.is_committed(unit)) {
        match Shard::open_in(layer, unit) {
            Ok(shard) => {
                inspection.units_committed += 1;
                inspection.shard_bytes += shard.file_bytes();
                inspection.positions += shard.footer().positions;
                inspection.entries += shard.footer().entries;
            }
            Err(error) => inspection.unusable.push(error.to_string()),
        }
    }
    let per_position = |amount: u64| (inspection.positions > 0).then(|| amount as f64 / inspection.positions as f64);
    inspection.bytes_per_position = per_position(inspection.shard_bytes);
    inspection.entries_per_position = per_position(inspection.entries);
    inspection.complete = inspection.units_committed == inspection.units;
    inspection
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;
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
            .iter()
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
        assert_eq!(half.unusable.len(), 1);
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
