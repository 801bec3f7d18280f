//! The size of shards of the captured samples: they are written with the real codec and writer into a temporary folder.

use std::{num::NonZeroU32, path::Path};

use leadspan_cache::{Cache, CacheError, Identity, Layer, LayerDir, PreparedCorpus, ShardWriter, WorkUnit};
use leadspan_distribution::Distributions;
use leadspan_sequence::{Sample, Split};
use serde_json::Value;
use tempfile::TempDir;

use super::{calibration::Captured, size::Size};
use crate::PrecomputeError;

/// Two caches of the captured samples: one with a single shard, one with two shards of half the samples.
pub(super) struct Scratch<'a> {
    captured: &'a Captured,
    one: Cache,
    two: Cache,
    /// Bytes of the stored corpus for each token.
    pub(super) corpus_token_bytes: f64,
    _folder: TempDir,
}

impl<'a> Scratch<'a> {
    /// Makes both in a new folder in `parent`, with all samples for training. At least one sample must be captured.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::Scratch`] if the folder cannot be made; the errors of the cache.
    pub(super) fn new(
        parent: &Path,
        identity: &Identity,
        corpus: &PreparedCorpus,
        captured: &'a Captured,
    ) -> Result<Self, PrecomputeError> {
        let folder = tempfile::Builder::new()
            .prefix("leadspan-plan-")
            .tempdir_in(parent)
            .map_err(|source| PrecomputeError::Scratch {
                path: parent.to_owned(),
                source,
            })?;
        let indices = || captured.samples.iter().map(|(index, _)| *index as usize);
        let samples: Vec<Sample> = indices()
            .map(|index| {
                let mut sample = corpus.owned_sample(index)?;
                sample.split = Split::Train;
                Ok(sample)
            })
            .collect::<Result<_, CacheError>>()?;
        let row_hashes: Vec<_> = indices().map(|index| *corpus.row_hash(index)).collect();
        let cache = |name: &str, samples_per_shard: usize| -> Result<Cache, PrecomputeError> {
            let cache = Cache::create_or_open(&folder.path().join(name), identity, &[])?;
            let size = NonZeroU32::new(samples_per_shard as u32).expect("there is a sample");
            cache.write_corpus(&samples, &row_hashes, size, Value::Null)?;
            Ok(cache)
        };
        let (one, two) = (cache("one", samples.len())?, cache("two", samples.len().div_ceil(2))?);
        let tokens: usize = samples.iter().map(|sample| sample.tokens.len()).sum();
        let bytes = |file: &str| {
            let path = one.dir().join("corpus").join(file);
            path.metadata().map_or(0, |metadata| metadata.len())
        };
        let corpus_bytes = bytes("samples.arrow") + bytes("tokens.u32");
        Ok(Self {
            captured,
            one,
            two,
            corpus_token_bytes: corpus_bytes as f64 / tokens.max(1) as f64,
            _folder: folder,
        })
    }

    /// The size of shards of a layer. If the layer covers no position of the samples, positions have the size that they have
    /// in `otherwise`.
    pub(super) fn size(&self, layer: &Layer, otherwise: Option<Size>) -> Result<Size, PrecomputeError> {
        let (one, positions) = self.write(&self.one, layer)?;
        if let (0, Some(otherwise)) = (positions, otherwise) {
            return Ok(Size {
                shard_bytes: one as f64,
                ..otherwise
            });
        }
        let (two, _) = self.write(&self.two, layer)?;
        Ok(Size::of_one_and_two(one, two, positions))
    }

    /// Writes the shards of a layer. Returns their bytes and positions.
    fn write(&self, cache: &Cache, layer: &Layer) -> Result<(u64, u64), PrecomputeError> {
        let dir = cache.layer(layer)?;
        let (mut bytes, mut positions) = (0, 0);
        for unit in dir.corpus().units() {
            let receipt = self.write_unit(&dir, unit)?.commit()?;
            bytes += receipt.shard_bytes();
            positions += receipt.positions;
        }
        Ok((bytes, positions))
    }

    fn write_unit(&self, dir: &LayerDir, unit: &WorkUnit) -> Result<ShardWriter, PrecomputeError> {
        let mut writer = ShardWriter::create(dir, unit)?;
        for index in unit.samples.clone() {
            let sample = dir.corpus().sample(index);
            let positions: Vec<u32> = dir.layer().positions(sample).collect();
            let (_, all) = &self.captured.samples[index];
            let mut wanted = Distributions::with_capacity(positions.len(), 0);
            for (place, position) in self.captured.layer.positions(sample).enumerate() {
                if positions.binary_search(&position).is_ok() {
                    wanted.push(all.get(place));
                }
            }
            writer.push_sample(index as u32, &positions, &wanted)?;
        }
        Ok(writer)
    }
}
