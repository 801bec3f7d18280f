//! Committing a work unit: first its shard becomes visible, then its receipt.

use std::{fs, io};

use leadspan_files::{FileError, PendingFile, commit_bytes_in};

use super::{file::Shard, receipt::Receipt};
use crate::{CacheError, LayerDir, WorkUnit, json};

/// Commits a finished shard and then its receipt.
///
/// If another process has committed the same unit meanwhile, its shard stays and this one is dropped.
///
/// # Errors
///
/// [`CacheError::Io`] if the file system refuses.
pub(super) fn commit_shard(mut pending: PendingFile, layer: &LayerDir, unit: &WorkUnit) -> Result<Receipt, CacheError> {
    let path = layer.shard_path(unit);
    loop {
        pending = match pending.commit_new() {
            Ok(None) => return write_receipt(layer, unit),
            Ok(Some(pending)) => pending,
            // On a file system without locks, the process that committed the unit first may have removed our temporary
            // file.
            Err(FileError { source, .. }) if source.kind() == io::ErrorKind::NotFound && layer.is_committed(unit) => {
                return Receipt::read(layer, unit);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(receipt) = adopt(layer, unit)? {
            return Ok(receipt);
        }
        // The shard that is there has no receipt and is damaged, so it is replaced.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CacheError::io("replace", &path)(error));
            }
            _ => {}
        }
    }
}

/// Commits a shard without a receipt, as a process leaves it that dies between writing the two. If the shard is sound
/// and belongs there, writes its receipt and returns it; otherwise returns `None`, and the unit has to be written
/// again.
///
/// # Errors
///
/// [`CacheError::Io`] if the file system refuses.
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
    let receipt = Receipt::of(&Shard::open_in(layer, unit)?)?;
    commit_bytes_in(&layer.receipt_path(unit), &json::to_bytes(&receipt), layer.clearing())?;
    Ok(receipt)
}
