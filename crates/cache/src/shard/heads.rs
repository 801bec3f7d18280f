//! The heads of row groups that were read last.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::file::{Head, Shard};
use crate::CacheError;

/// Heads of row groups that are kept, at about half a megabyte each.
const KEPT_HEADS: usize = 64;

/// Layer, work unit and row group of a head.
type HeadKey = (usize, usize, usize);

/// The heads that were wanted last, the newest of them at the end.
#[derive(Debug, Default)]
pub(super) struct Heads {
    kept: Mutex<Vec<(HeadKey, Arc<Head>)>>,
    bytes_read: AtomicU64,
}

impl Heads {
    /// How many bytes of heads were read from shards.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The head of a row group, from memory where it was wanted not long ago.
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
