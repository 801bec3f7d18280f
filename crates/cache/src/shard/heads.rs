//! A cache of the heads of row groups that were read last.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::file::{Head, Shard};
use crate::CacheError;

/// The number of heads that are kept. A head takes about half a megabyte.
const KEPT_HEADS: usize = 64;

/// The numbers of the layer, the work unit and the row group of a head.
type HeadKey = (usize, usize, usize);

/// The heads that were used last, the most recent one at the end.
#[derive(Debug, Default)]
pub(super) struct Heads {
    kept: Mutex<Vec<(HeadKey, Arc<Head>)>>,
    bytes_read: AtomicU64,
}

impl Heads {
    /// The number of bytes of heads that were read from shards.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The head of a row group, from memory if it is kept.
    pub(super) fn get(&self, key: HeadKey, shard: &Shard) -> Result<Arc<Head>, CacheError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = kept();
            if let Some(place) = kept.iter().rposition(|(held, _)| *held == key) {
                let entry = kept.remove(place);
                let head = Arc::clone(&entry.1);
                kept.push(entry);
                return Ok(head);
            }
        }
        let head = Arc::new(shard.head(key.2)?);
        self.bytes_read.fetch_add(head.bytes as u64, Ordering::Relaxed);
        let mut kept = kept();
        if kept.len() >= KEPT_HEADS {
            kept.remove(0);
        }
        kept.push((key, Arc::clone(&head)));
        Ok(head)
    }
}
