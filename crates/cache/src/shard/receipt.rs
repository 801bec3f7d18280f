//! Receipts: what each committed shard is, in a small file beside it that is written after it.
//!
//! A work unit is committed once its receipt is there.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{CacheError, FORMAT_VERSION, LayerDir, WorkUnit, hashing::Region, json, shard::Shard};

/// What a shard is: computed from the shard, so that two writers of one shard write the same receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub(crate) format: u32,
    /// Size and blake3 of the whole file.
    pub(crate) shard: Region,
    /// Stored positions.
    pub positions: u64,
    /// Stored entries of all positions.
    pub entries: u64,
    /// Probability that the entries of all positions retain: its mean is this over `positions`.
    pub retained_mass: f64,
    /// The fingerprint of the identity that it was made for.
    pub identity: String,
    /// The hash of the corpus rows that it was made of.
    pub rows_blake3: String,
    /// What kind of device computed it.
    pub device_class: Option<String>,
    /// The program that wrote it.
    pub program: String,
}

impl Receipt {
    /// The size of the shard.
    pub fn shard_bytes(&self) -> u64 {
        self.shard.bytes
    }

    /// The receipt of an open shard; reads all of it.
    pub(crate) fn of(shard: &Shard) -> Self {
        let footer = shard.footer();
        Self {
            format: FORMAT_VERSION,
            shard: Region::of(shard.bytes()),
            positions: footer.positions,
            entries: footer.entries,
            retained_mass: footer.retained_mass,
            identity: footer.placement.identity.clone(),
            rows_blake3: footer.placement.rows_blake3.clone(),
            device_class: footer.device_class.clone(),
            program: concat!("leadspan ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The receipt of a committed unit.
    ///
    /// # Errors
    ///
    /// Where it cannot be read or understood.
    pub fn read(layer: &LayerDir, unit: &WorkUnit) -> Result<Self, CacheError> {
        let path = layer.receipt_path(unit);
        let bytes = fs::read(&path).map_err(CacheError::io("read", &path))?;
        json::from_bytes(&bytes, &path)
    }

    /// Compares an open shard with the receipt; reads all of it.
    pub(crate) fn check(&self, shard: &Shard, receipt_path: &Path) -> Result<(), CacheError> {
        let actual = Self {
            program: self.program.clone(),
            ..Self::of(shard)
        };
        let path = shard.path().to_owned();
        let (found, expected) = (actual.shard.bytes, self.shard.bytes);
        if found != expected {
            return Err(CacheError::WrongSize { path, found, expected });
        }
        if actual.shard.blake3 != self.shard.blake3 {
            let part = "contents".to_owned();
            return Err(CacheError::Damaged { path, part });
        }
        if actual != *self {
            return Err(CacheError::Inconsistent {
                path: receipt_path.to_owned(),
                problem: "it does not describe its shard".to_owned(),
            });
        }
        Ok(())
    }
}
