//! How many bytes shards will take. Pure, except for reading receipts.

use leadspan_cache::{Cache, CacheError, Layer, LayerDir, Receipt};
use leadspan_distribution::codec::Precision;
use serde::Serialize;

/// Where a prediction of bytes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeSource {
    /// Shards that the cache has already.
    Shards,
    /// Shards of the samples that the calibration captured.
    Calibration,
    /// Published figures of the codec, measured with another teacher.
    Published,
}

/// The size of shards as a function of their number and positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Bytes of an empty shard.
    pub shard_bytes: f64,
    /// Further bytes for each position.
    pub position_bytes: f64,
    /// Where the figures come from.
    pub source: SizeSource,
}

impl Size {
    /// The bytes of `shards` shards that have `positions` positions in all.
    pub(super) fn bytes(&self, shards: u64, positions: u64) -> u64 {
        (self.shard_bytes * shards as f64 + self.position_bytes * positions as f64).round() as u64
    }

    /// From the bytes of the same positions in one shard and in two: the difference is the size of an empty shard.
    pub(super) fn of_one_and_two(one: u64, two: u64, positions: u64) -> Self {
        let shard_bytes = (two as f64 - one as f64).clamp(0.0, one as f64);
        Self {
            shard_bytes,
            position_bytes: (one as f64 - shard_bytes) / positions.max(1) as f64,
            source: SizeSource::Calibration,
        }
    }

    /// From the committed shards of some layers; `None` if they have no position yet.
    ///
    /// # Errors
    ///
    /// Fails if a receipt cannot be read.
    pub(super) fn of_shards<'a>(layers: impl Iterator<Item = &'a LayerDir>) -> Result<Option<Self>, CacheError> {
        let (mut bytes, mut positions) = (0, 0);
        for layer in layers {
            for unit in layer.corpus().units() {
                if layer.is_committed(unit) {
                    let receipt = Receipt::read(layer, unit)?;
                    bytes += receipt.shard_bytes();
                    positions += receipt.positions;
                }
            }
        }
        Ok((positions > 0).then(|| Self {
            shard_bytes: 0.0,
            position_bytes: bytes as f64 / positions as f64,
            source: SizeSource::Shards,
        }))
    }

    /// From the figures in `docs/benchmarks.md`, interpolated linearly in the number of entries.
    pub(super) fn published(top_k: u32, precision: Precision) -> Self {
        let figures = match precision {
            Precision::Standard => [54.0, 97.9, 179.6],
            Precision::Fine => [65.9, 124.1, 237.7],
            Precision::Exact => [130.7, 246.9, 474.3],
        };
        let k = f64::from(top_k);
        let position_bytes = if k < 64.0 {
            (figures[0] + (figures[1] - figures[0]) / 32.0 * (k - 32.0)).max(4.0)
        } else {
            figures[1] + (figures[2] - figures[1]) / 64.0 * (k - 64.0)
        };
        Self {
            shard_bytes: 0.0,
            position_bytes,
            source: SizeSource::Published,
        }
    }
}

/// The sizes of the shards that a cache has.
pub(super) struct StoredSizes {
    /// Of each layer that has shards.
    pub(super) layers: Vec<(Layer, Size)>,
    /// Of all layers together.
    pub(super) all: Option<Size>,
}

impl StoredSizes {
    /// Those of `cache`; none if there is no cache or it has no corpus.
    pub(super) fn of(cache: Option<&Cache>) -> Result<Self, CacheError> {
        let dirs = match cache {
            Some(cache) if cache.corpus()?.is_some() => cache.layers()?,
            _ => Vec::new(),
        };
        let mut layers = Vec::new();
        for dir in &dirs {
            if let Some(size) = Size::of_shards([dir].into_iter())? {
                layers.push((dir.layer().clone(), size));
            }
        }
        let all = Size::of_shards(dirs.iter())?;
        Ok(Self { layers, all })
    }
}

/// The sizes of shards of training samples and of validation samples, which are whole.
#[derive(Clone, Copy)]
pub(super) struct SizesBySplit {
    pub(super) train: Size,
    pub(super) validation: Size,
}

impl SizesBySplit {
    /// The same for both.
    pub(super) fn alike(size: Size) -> Self {
        Self {
            train: size,
            validation: size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_figures_are_met_and_interpolated_between() {
        let of = |k| Size::published(k, Precision::Standard).position_bytes;
        for (k, bytes) in [(32, 54.0), (64, 97.9), (128, 179.6), (48, 75.95)] {
            assert!((of(k) - bytes).abs() < 1e-9, "{k}: {}", of(k));
        }
        assert!(of(1) > 0.0 && of(1) < of(8) && of(256) > 300.0);
    }

    #[test]
    fn the_bytes_of_an_empty_shard_and_of_a_position_are_told_apart() {
        // 100 bytes a shard and 10 a position.
        let size = Size::of_one_and_two(1100, 1200, 100);
        assert_eq!((size.shard_bytes, size.position_bytes), (100.0, 10.0));
        assert_eq!(size.bytes(5, 1000), 10_500);
        let odd = Size::of_one_and_two(1100, 1000, 100);
        assert_eq!((odd.shard_bytes, odd.position_bytes), (0.0, 11.0));
    }
}
