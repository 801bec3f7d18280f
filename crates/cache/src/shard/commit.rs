//! The commit of a work unit: its shard becomes visible, and then its receipt.

use std::{fs, io};

use leadspan_files::{FileError, PendingFile, commit_bytes_in};

use super::{file::Shard, receipt::Receipt};
use crate::{CacheError, LayerDir, WorkUnit, json};

/// Makes a shard that is written to its last byte visible, and then its receipt.
///
/// Where another process has committed the same unit meanwhile, its shard stays and this one is dropped.
pub(super) fn commit_shard(mut pending: PendingFile, layer: &LayerDir, unit: &WorkUnit) -> Result<Receipt, CacheError> {
    let path = layer.shard_path(unit);
    loop {
        pending = match pending.commit_new() {
            Ok(None) => return write_receipt(layer, unit),
            Ok(Some(pending)) => pending,
            // On a file system without locks, the process that committed the unit first may have cleared ours up.
            Err(FileError { source, .. }) if source.kind() == io::ErrorKind::NotFound && layer.is_committed(unit) => {
                return Receipt::read(layer, unit);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(receipt) = adopt(layer, unit)? {
            return Ok(receipt);
        }
        // A shard that nobody vouches for and that is no good makes way.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CacheError::io("replace", &path)(error));
            }
            _ => {}
        }
    }
}

/// Takes up the shard of a unit that has no receipt, as a process leaves it that dies between the two: where it is sound
/// and belongs there, writes the receipt and returns it.
///
/// # Errors
///
/// Where the file system refuses. A shard that is not sound is no error: it will be written anew.
pub fn adopt(layer: &LayerDir, unit: &WorkUnit) -> Result<Option<Receipt>, CacheError> {
    if layer.is_committed(unit) {
        return Receipt::read(layer, unit).map(Some);
    }
    let sound = Shard::open_in(layer, unit).and_then(|shard| shard.check_all());
    if sound.is_err() {
        return Ok(None);
    }
    write_receipt(layer, unit).map(Some)
}

fn write_receipt(layer: &LayerDir, unit: &WorkUnit) -> Result<Receipt, CacheError> {
    let receipt = Receipt::of(&Shard::open_in(layer, unit)?);
    commit_bytes_in(&layer.receipt_path(unit), &json::to_bytes(&receipt), layer.clearing())?;
    Ok(receipt)
}
