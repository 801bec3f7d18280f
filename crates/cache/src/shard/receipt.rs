//! Receipts: small files that describe committed shards.
//!
//! A receipt stands beside its shard and is written after it. A work unit is committed once its receipt exists.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{CacheError, FORMAT_VERSION, LayerDir, WorkUnit, hashing::Region, json, shard::Shard};

/// The description of a shard, computed from the shard. All writers of one shard write the same receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub(crate) format: u32,
    /// Size and blake3 of the whole shard.
    pub(crate) shard: Region,
    /// Number of stored positions.
    pub positions: u64,
    /// Number of stored entries of all positions.
    pub entries: u64,
    /// Sum over all positions of the probability of the stored entries. Divide it by `positions` to get the mean.
    pub retained_mass: f64,
    /// The fingerprint of the cache's identity.
    pub identity: String,
    /// The hash of the unit's rows in the corpus.
    pub rows_blake3: String,
    /// The kind of device that computed the shard.
    pub device_class: Option<String>,
    /// The program that wrote the shard, with its version.
    pub program: String,
}

impl Receipt {
    /// The size of the shard, in bytes.
    pub fn shard_bytes(&self) -> u64 {
        self.shard.bytes
    }

    /// Computes the receipt of an open shard. Reads the whole file.
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

    /// Reads the receipt of a committed unit.
    ///
    /// # Errors
    ///
    /// [`CacheError::BadJson`] or [`CacheError::UnsupportedVersion`] if it is damaged; [`CacheError::Io`] if it cannot
    /// be read.
    pub fn read(layer: &LayerDir, unit: &WorkUnit) -> Result<Self, CacheError> {
        let path = layer.receipt_path(unit);
        let bytes = fs::read(&path).map_err(CacheError::io("read", &path))?;
        json::from_bytes(&bytes, &path)
    }

    /// Compares an open shard with the receipt. Reads the whole file.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSize`], [`CacheError::Damaged`] or [`CacheError::Inconsistent`] if they differ.
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
