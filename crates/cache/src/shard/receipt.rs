//! Receipts: small files that describe committed shards.
//!
//! A receipt stands beside its shard and is written after it. A work unit is committed once its receipt exists.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    CacheError, FORMAT_VERSION, LayerDir, WorkUnit,
    hashing::Region,
    inventory::{ListedShard, OTHER},
    json, mapping,
    ranged::RangedFile,
    shard::{Shard, footer::is_false},
};

/// The description of a shard, computed from the shard. All writers of one shard write the same receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub(crate) format: u32,
    /// Size and blake3 of the whole shard.
    pub(crate) shard: Region,
    /// blake3 of the shard's tail, which has the hashes of everything else in it. `None` in receipts of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tail_blake3: Option<String>,
    /// Number of stored positions.
    pub positions: u64,
    /// Number of stored entries of all positions.
    pub entries: u64,
    /// Sum over all positions of the probability of the stored entries. Divide it by `positions` to get the mean.
    pub retained_mass: f64,
    /// Whether `entries` and `retained_mass` are in proportion to those of the shards that blocks were copied from.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
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
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the file cannot be read.
    pub(crate) fn of<F: RangedFile>(shard: &Shard<F>) -> Result<Self, CacheError> {
        Ok(Self::with_region(shard, Region::of(&shard.whole()?)))
    }

    /// The receipt of an open shard that has this size and this hash.
    fn with_region<F: RangedFile>(shard: &Shard<F>, region: Region) -> Self {
        let footer = shard.footer();
        Self {
            format: FORMAT_VERSION,
            shard: region,
            tail_blake3: Some(shard.tail_blake3().to_owned()),
            positions: footer.positions,
            entries: footer.entries,
            retained_mass: footer.retained_mass,
            estimated: footer.estimated,
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
        let bytes = json::read(&path)?.ok_or_else(|| CacheError::io("read", &path)(io::ErrorKind::NotFound.into()))?;
        json::from_bytes(&bytes, &path)
    }

    /// Compares an open shard with the receipt. Reads the whole file.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSize`], [`CacheError::Damaged`] or [`CacheError::Inconsistent`] if they differ.
    pub(crate) fn check<F: RangedFile>(&self, shard: &Shard<F>, receipt_path: &Path) -> Result<(), CacheError> {
        self.compare(&Self::of(shard)?, shard, receipt_path)
    }

    /// Compares an open shard of a complete layer with the receipt, without the hash of the whole file: the tail, which was
    /// compared when the shard was opened, has the hashes of everything else. A receipt of an older program, which does not
    /// know the tail, is compared with `whole`, the hash of the file that is known from elsewhere, or the file is read.
    fn check_tail<F: RangedFile>(
        &self,
        shard: &Shard<F>,
        whole: Option<&str>,
        receipt_path: &Path,
    ) -> Result<(), CacheError> {
        let known = match (&self.tail_blake3, whole) {
            (_, Some(whole)) => whole,
            (Some(tail), None) if tail == shard.tail_blake3() => &self.shard.blake3,
            _ => return self.check(shard, receipt_path),
        };
        let of_file = Region {
            bytes: shard.size(),
            blake3: known.to_owned(),
        };
        self.compare(&Self::with_region(shard, of_file), shard, receipt_path)
    }

    /// Compares the receipt with that of `shard`, which is `actual`.
    fn compare<F: RangedFile>(&self, actual: &Self, shard: &Shard<F>, receipt_path: &Path) -> Result<(), CacheError> {
        let mut actual = Self {
            program: self.program.clone(),
            ..actual.clone()
        };
        if self.tail_blake3.is_none() {
            actual.tail_blake3 = None;
        }
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

/// Maps the shard of a committed unit for reading, and checks that it is the one that was committed: the one that the
/// inventory lists, if it lists it, and the one that its receipt describes, in all that the receipt says of it. Compares the
/// tail, which has the hashes of everything else in the shard. If no tail is recorded, because an older program wrote the
/// receipt, it compares the whole file.
///
/// # Errors
///
/// [`CacheError::Unlisted`], or those of [`Receipt::check`], if it is another shard or the receipt was changed; and those of
/// [`Shard::open_in`].
pub(crate) fn open_committed(layer: &LayerDir, unit: &WorkUnit) -> Result<Shard, CacheError> {
    committed_in(layer, unit, mapping::map(&layer.shard_path(unit))?)
}

/// Like [`open_committed`], of a shard whose file is `file`.
///
/// # Errors
///
/// Those of [`open_committed`].
pub(crate) fn committed_in<F: RangedFile>(layer: &LayerDir, unit: &WorkUnit, file: F) -> Result<Shard<F>, CacheError> {
    let shard = Shard::of_unit(layer, unit, file)?;
    let listed = layer.listed(unit);
    if let Some(listed) = listed {
        require_listed(&shard, listed, layer)?;
    }
    let whole = listed.map(|listed| listed.blake3.as_str());
    Receipt::read(layer, unit)?.check_tail(&shard, whole, &layer.receipt_path(unit))?;
    Ok(shard)
}

/// Checks a committed unit as [`open_committed`] does, but never reads the whole shard: what an older program recorded without
/// the tail is compared in its size, and its hash with that of the inventory.
///
/// # Errors
///
/// Those of [`open_committed`].
pub(crate) fn check_committed(layer: &LayerDir, unit: &WorkUnit) -> Result<(), CacheError> {
    let shard = Shard::open_in(layer, unit)?;
    let receipt = Receipt::read(layer, unit)?;
    let bytes = shard.size();
    let whole = match layer.listed(unit) {
        Some(listed) if listed.tail_blake3.is_some() || listed.bytes != bytes => {
            require_listed(&shard, listed, layer)?;
            &listed.blake3
        }
        Some(listed) => &listed.blake3,
        None => &receipt.shard.blake3,
    };
    let blake3 = whole.clone();
    let of_file = Receipt::with_region(&shard, Region { bytes, blake3 });
    receipt.compare(&of_file, &shard, &layer.receipt_path(unit))
}

/// Checks that a shard is the one that the inventory lists.
///
/// # Errors
///
/// [`CacheError::Unlisted`] if it is not.
pub(crate) fn require_listed<F: RangedFile>(
    shard: &Shard<F>,
    listed: &ListedShard,
    layer: &LayerDir,
) -> Result<(), CacheError> {
    let same = match &listed.tail_blake3 {
        Some(tail) => (tail.as_str(), listed.bytes) == (shard.tail_blake3(), shard.size()),
        None => Region {
            bytes: listed.bytes,
            blake3: listed.blake3.clone(),
        }
        .matches(&shard.whole()?),
    };
    if same {
        return Ok(());
    }
    Err(CacheError::Unlisted {
        path: shard.path().to_owned(),
        problem: OTHER,
        inventory: layer.inventory_path(),
    })
}
