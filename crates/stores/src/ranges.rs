//! Parts of a file in a store.

use std::{ops::Range, path::Path, sync::atomic::AtomicBool};

use crate::{
    Opened, StoreError,
    listing::receipt_of,
    parallel,
    records::{Receipt, parsed},
    same::contents,
    store::{Store, pieces_of},
};

/// Reads byte ranges of the file `name` of a cache, several at a time. Nothing else of the file is fetched.
///
/// # Errors
///
/// [`StoreError::Damaged`] if the file ends before one of the ranges does; [`StoreError::Missing`] if there is no such file;
/// the error of a store that does not answer.
pub fn read_ranges(opened: &Opened, name: &str, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>, StoreError> {
    read_parts((&*opened.store, opened.parallel), name, ranges)
}

/// Like [`read_ranges`], so many parts at a time.
///
/// # Errors
///
/// Those of [`read_ranges`].
pub(crate) fn read_parts(
    (store, threads): (&dyn Store, usize),
    name: &str,
    ranges: &[Range<u64>],
) -> Result<Vec<Vec<u8>>, StoreError> {
    let pieces: Vec<Range<u64>> = ranges.iter().flat_map(pieces_of).collect();
    let go = AtomicBool::new(false);
    let read = parallel::each(&pieces, threads, &go, &mut |_| {}, &|piece, _| {
        let bytes = store.read_range(name, piece.clone())?;
        if bytes.len() as u64 == piece.end - piece.start {
            return Ok(bytes);
        }
        Err(StoreError::Damaged {
            place: store.url_of(name),
            by: "the index of the cache".to_owned(),
            problem: format!("it ends before byte {}", piece.end),
        })
    })?;
    let mut read = read.into_iter();
    Ok(ranges
        .iter()
        .map(|range| read.by_ref().take(pieces_of(range).count()).flatten().collect())
        .collect())
}

/// A shard in a store, of which ranges are read.
pub struct RemoteShard<'a> {
    opened: &'a Opened,
    name: String,
    bytes: u64,
}

impl Opened {
    /// The shard `name` of a layer, such as `layers/0-0.5-answer/train-000000.parquet`, with the size that its receipt in the folder
    /// `frame` states.
    ///
    /// # Errors
    ///
    /// The error of a receipt that is missing or cannot be read.
    pub fn shard(&self, frame: &Path, name: &str) -> Result<RemoteShard<'_>, StoreError> {
        let path = frame.join(receipt_of(name));
        let receipt: Receipt = parsed(&contents(&path)?, &path.display().to_string())?;
        Ok(RemoteShard {
            opened: self,
            name: name.to_owned(),
            bytes: receipt.shard.bytes,
        })
    }
}

impl RemoteShard<'_> {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// The bytes of a range.
    ///
    /// # Errors
    ///
    /// Those of [`read_ranges`].
    pub fn range(&self, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut read = read_ranges(self.opened, &self.name, std::slice::from_ref(&range))?;
        Ok(read.pop().unwrap_or_default())
    }
}
