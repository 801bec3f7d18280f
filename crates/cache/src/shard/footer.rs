//! The description of a shard in its footer: its contents and where it belongs.

use leadspan_distribution::{EntrySettings, codec};
use leadspan_sequence::Split;
use serde::{Deserialize, Serialize};

use crate::{Layer, LayerDir, WorkUnit, hashing::Region};

/// The key of the Parquet metadata under which [`Footer`] is stored as JSON.
pub(crate) const FOOTER_KEY: &str = "leadspan";

/// The description of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Footer {
    pub(crate) placement: Placement,
    /// The kind of device that computed it, as stated to the writer.
    pub(crate) device_class: Option<String>,
    /// What is stored of each position. For readers that have only the shard.
    pub(crate) stored: EntrySettings,
    pub(crate) precision: codec::Precision,
    pub(crate) positions: u64,
    pub(crate) entries: u64,
    /// Sum over all positions of the probability of the stored entries.
    pub(crate) retained_mass: f64,
    /// Whether `entries` and `retained_mass` are in proportion to those of the shards that blocks were copied from.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) estimated: bool,
    pub(crate) row_groups: Vec<RowGroup>,
}

/// The cache, the layer and the work unit that a shard belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) identity: String,
    pub(crate) layer: Layer,
    pub(crate) split: Split,
    pub(crate) unit: u32,
    pub(crate) first_sample: u64,
    pub(crate) samples: u64,
    /// The hash of the unit's rows in the corpus.
    pub(crate) rows_blake3: String,
}

/// One row group: the numbers of its blocks and positions, and its bytes in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowGroup {
    pub(crate) blocks: u64,
    pub(crate) positions: u64,
    /// All columns before the column of blocks.
    pub(crate) head: Region,
    /// All columns.
    pub(crate) data: Region,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

impl Footer {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always serialize")
    }
}

impl Placement {
    /// The placement of the shard of `unit` in `layer`.
    pub(crate) fn of(layer: &LayerDir, unit: &WorkUnit) -> Self {
        Self {
            identity: layer.identity_fingerprint().to_owned(),
            layer: layer.layer().clone(),
            split: unit.split,
            unit: unit.number,
            first_sample: unit.samples.start as u64,
            samples: unit.samples.len() as u64,
            rows_blake3: layer.corpus().unit_fingerprint(unit),
        }
    }

    /// The values that differ if a shard belongs elsewhere. A difference in an earlier value explains those in later
    /// ones.
    pub(super) fn marks(&self) -> [(&'static str, String); 4] {
        let (first, end) = (self.first_sample, self.first_sample.saturating_add(self.samples));
        [
            ("cache identity", self.identity.clone()),
            ("layer", self.layer.folder_name()),
            (
                "work unit",
                format!("{}-{:06}, samples {first} to {end}", self.split, self.unit),
            ),
            ("corpus fingerprint", self.rows_blake3.clone()),
        ]
    }
}
