//! The samples to replay: a cache inside a cache, with a prepared corpus of its own and without a teacher.

use crate::{
    Cache, CacheError,
    cache::IDENTITY,
    inventory::{Inventory, ListedParts, OTHER},
};

/// The folder inside a cache that holds the cache of the samples to replay.
pub const REPLAY: &str = "replay";

impl Cache {
    /// The cache of the samples to replay: a prepared corpus of its own, without a teacher. `None` if none was
    /// prepared.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unlisted`] if the inventory of this cache does not list it, or lists another one; and those of
    /// [`open`](Self::open), except [`CacheError::NotACache`].
    pub fn replay(&self) -> Result<Option<Self>, CacheError> {
        let replay = self.replay_listed_or_not()?;
        if let (Some(replay), Some(inventory)) = (&replay, self.inventory())
            && inventory.replay.is_none()
        {
            return Err(CacheError::Unlisted {
                path: replay.dir().to_owned(),
                problem: "is not listed in",
                inventory: Inventory::path(self.dir()),
            });
        }
        Ok(replay)
    }

    /// Like [`replay`](Self::replay), but accepts samples that are not listed yet.
    pub(crate) fn replay_listed_or_not(&self) -> Result<Option<Self>, CacheError> {
        let Some(mut replay) = Self::open_if_there(&self.dir().join(REPLAY))? else {
            return Ok(None);
        };
        let listed = self.inventory().and_then(|inventory| inventory.replay.as_ref());
        if let Some(listed) = listed {
            let inventory = Inventory::path(self.dir());
            if listed.identity != replay.identity_blake3() {
                return Err(CacheError::Unlisted {
                    path: replay.dir().join(IDENTITY),
                    problem: OTHER,
                    inventory,
                });
            }
            replay.listed_parts = Some(ListedParts {
                hashes: listed.corpus.clone(),
                inventory,
            });
        }
        Ok(Some(replay))
    }

    /// Whether there is a cache of samples to replay.
    pub(crate) fn has_replay(&self) -> bool {
        self.dir().join(REPLAY).join(IDENTITY).exists()
    }
}
