//! How many bytes shards will take. Pure, but for reading receipts.

use leadspan_cache::{CacheError, LayerDir, Receipt};
use leadspan_distribution::codec::Precision;
use serde::Serialize;

/// Where a prediction of bytes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeSource {
    /// Shards that this cache has already.
    Shards,
    /// Shards made of what the calibration captured.
    Calibration,
    /// The codec's published figures, which are another teacher's.
    Published,
}

/// What shards take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Bytes of each shard, whatever is in it.
    pub shard_bytes: f64,
    /// Bytes of each position beside.
    pub position_bytes: f64,
    /// Where that comes from.
    pub source: SizeSource,
}

impl Size {
    /// Bytes of so many shards with so many positions together.
    pub(super) fn bytes(&self, shards: u64, positions: u64) -> u64 {
        (self.shard_bytes * shards as f64 + self.position_bytes * positions as f64).round() as u64
    }

    /// Of what is known of a shard of all positions, and of the same positions in two shards: the difference is what a
    /// shard takes whatever is in it.
    pub(super) fn of_one_and_two(one: u64, two: u64, positions: u64) -> Self {
        let shard_bytes = (two as f64 - one as f64).clamp(0.0, one as f64);
        Self {
            shard_bytes,
            position_bytes: (one as f64 - shard_bytes) / positions.max(1) as f64,
            source: SizeSource::Calibration,
        }
    }

    /// Of the shards that are in some layers; `None` where these have no position yet.
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

    /// What `docs/benchmarks.md` publishes for `k` entries, straight lines between its figures.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_figures_are_met_and_joined_by_lines() {
        let of = |k| Size::published(k, Precision::Standard).position_bytes;
        for (k, bytes) in [(32, 54.0), (64, 97.9), (128, 179.6), (48, 75.95)] {
            assert!((of(k) - bytes).abs() < 1e-9, "{k}: {}", of(k));
        }
        assert!(of(1) > 0.0 && of(1) < of(8) && of(256) > 300.0);
    }

    #[test]
    fn what_a_shard_takes_is_told_from_what_a_position_takes() {
        // 100 bytes a shard and 10 a position.
        let size = Size::of_one_and_two(1100, 1200, 100);
        assert_eq!((size.shard_bytes, size.position_bytes), (100.0, 10.0));
        assert_eq!(size.bytes(5, 1000), 10_500);
        let odd = Size::of_one_and_two(1100, 1000, 100);
        assert_eq!((odd.shard_bytes, odd.position_bytes), (0.0, 11.0));
    }
}
