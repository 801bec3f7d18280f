//! The shards that one new shard takes blocks from.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use leadspan_distribution::codec::Codes;

use super::blocks::Piece;
use crate::{
    CacheError,
    ranged::RangedFile,
    shard::{Head, Shard, Sums},
};

/// The heads that are kept. Blocks come in order, so two suffice: those of a block that lies in two row groups.
const KEPT_HEADS: usize = 2;

/// A row group: the number of the open shard, and its own number there.
pub(super) type GroupKey = (usize, usize);

/// The open shards of one new shard, in the order of its samples.
pub(super) struct OpenShards<F> {
    shards: Vec<OpenShard<F>>,
    heads: Vec<(GroupKey, Arc<Head>)>,
}

struct OpenShard<F> {
    shard: Shard<F>,
    /// The number of positions that are taken from it.
    taken: u64,
}

impl<F: RangedFile> OpenShards<F> {
    pub(super) fn new() -> Self {
        Self {
            shards: Vec::new(),
            heads: Vec::new(),
        }
    }

    /// Adds a shard. Returns its number.
    pub(super) fn add(&mut self, shard: Shard<F>) -> usize {
        self.shards.push(OpenShard { shard, taken: 0 });
        self.shards.len() - 1
    }

    pub(super) fn shard(&self, number: usize) -> &Shard<F> {
        &self.shards[number].shard
    }

    /// Counts the positions of a piece as taken.
    pub(super) fn take(&mut self, piece: &Piece) {
        self.shards[piece.shard].taken += piece.taken.len() as u64;
    }

    /// The row group of a piece.
    ///
    /// # Errors
    ///
    /// [`CacheError::Inconsistent`] if the shard ends before it.
    pub(super) fn group_of(&self, piece: &Piece) -> Result<GroupKey, CacheError> {
        let shard = self.shard(piece.shard);
        if piece.block >= shard.block_count() {
            let sample = piece.stored.0;
            return Err(shard.inconsistent(format!("it ends before the blocks of sample {sample}")));
        }
        Ok((piece.shard, shard.group_of(piece.block)))
    }

    /// The head of a row group.
    ///
    /// # Errors
    ///
    /// The error of a head that is damaged.
    pub(super) fn head(&mut self, key: GroupKey) -> Result<Arc<Head>, CacheError> {
        if let Some((_, head)) = self.heads.iter().find(|(kept, _)| *kept == key) {
            return Ok(Arc::clone(head));
        }
        let head = Arc::new(self.shards[key.0].shard.head(key.1)?);
        if self.heads.len() >= KEPT_HEADS {
            self.heads.remove(0);
        }
        self.heads.push((key, Arc::clone(&head)));
        Ok(head)
    }

    /// Decodes the positions of a piece of the row group `head`, whose stored block is `bytes`, and appends them to `into`.
    ///
    /// # Errors
    ///
    /// The error of a block that cannot be decoded.
    pub(super) fn decode(&self, piece: &Piece, head: &Head, bytes: &Bytes, into: &mut Codes) -> Result<(), CacheError> {
        let mut codes = Codes::default();
        self.shard(piece.shard).codes(head, bytes, piece.stored.2, &mut codes)?;
        into.append(&codes, piece.taken.clone());
        Ok(())
    }

    /// The sums over the positions that were taken. If only some of a shard's were, its sums count in proportion.
    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for OpenShard { shard, taken } in self.shards.iter().filter(|open| open.taken > 0) {
            let footer = shard.footer();
            let whole = *taken == footer.positions;
            // A stranger's footer may state no positions.
            let all = footer.positions.max(1);
            let entries = u128::from(footer.entries) * u128::from(*taken) / u128::from(all);
            sums.entries = sums.entries.saturating_add(u64::try_from(entries).unwrap_or(u64::MAX));
            sums.retained_mass += if whole {
                footer.retained_mass
            } else {
                footer.retained_mass * (*taken as f64 / all as f64)
            };
            sums.estimated |= footer.estimated || !whole;
        }
        sums
    }

    /// The kinds of devices that computed the shards, as one text; `None` if none is stated.
    pub(super) fn device_class(&self) -> Option<String> {
        let shards = self.shards.iter();
        let classes: BTreeSet<&str> = shards
            .filter_map(|open| open.shard.footer().device_class.as_deref())
            .collect();
        let classes: Vec<&str> = classes.into_iter().collect();
        (!classes.is_empty()).then(|| classes.join(" and "))
    }
}
