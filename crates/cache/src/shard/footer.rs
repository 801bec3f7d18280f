//! What a shard says about itself, and where it belongs.

use leadspan_distribution::{EntrySettings, codec};
use leadspan_sequence::Split;
use serde::{Deserialize, Serialize};

use crate::{Layer, LayerDir, WorkUnit, hashing::Region};

/// The key of the footer's metadata under which [`Footer`] stands as JSON.
pub(crate) const FOOTER_KEY: &str = "leadspan";

/// What a shard says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Footer {
    pub(crate) placement: Placement,
    /// What kind of device computed it, as the writer was told.
    pub(crate) device_class: Option<String>,
    /// How the positions are coded, for readers that have nothing but the shard.
    pub(crate) stored: EntrySettings,
    pub(crate) precision: codec::Precision,
    pub(crate) positions: u64,
    pub(crate) entries: u64,
    /// Probability that the entries of all positions retain.
    pub(crate) retained_mass: f64,
    pub(crate) row_groups: Vec<RowGroup>,
}

/// Where a shard belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) identity: String,
    pub(crate) layer: Layer,
    pub(crate) split: Split,
    pub(crate) unit: u32,
    pub(crate) first_sample: u64,
    pub(crate) samples: u64,
    /// The hash of the rows of the corpus that the unit holds.
    pub(crate) rows_blake3: String,
}

/// One row group: how many blocks and positions, and its bytes in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowGroup {
    pub(crate) blocks: u64,
    pub(crate) positions: u64,
    /// Everything before the column of blocks, from the start of the row group.
    pub(crate) head: Region,
    /// All of it.
    pub(crate) data: Region,
}

impl Footer {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings always serialize")
    }
}

impl Placement {
    /// Where the shard of `unit` in `layer` belongs.
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

    /// What tells this shard from one that belongs elsewhere, in the order in which it is best explained.
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
