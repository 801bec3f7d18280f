//! The samples to replay: a cache inside a cache, with a prepared corpus of its own and without a teacher.

use std::collections::HashSet;

use leadspan_sequence::Split;

use crate::{
    Cache, CacheError, PreparedCorpus,
    cache::IDENTITY,
    inventory::{Inventory, ListedParts, OTHER},
};

/// The folder inside a cache that holds the cache of the samples to replay.
pub const REPLAY: &str = "replay";

/// The training samples of `replayed` that have the tokens of a validation sample of `corpus`, ascending: samples that training
/// on `corpus` must not replay.
///
/// # Errors
///
/// [`CacheError::Damaged`] if tokens differ from their checksum.
pub fn copies_of_held_out(corpus: &PreparedCorpus, replayed: &PreparedCorpus) -> Result<Vec<u32>, CacheError> {
    let (mut held_out, mut lengths) = (HashSet::new(), HashSet::new());
    for sample in corpus.of_split(Split::Validation) {
        let tokens = corpus.tokens(sample as usize)?;
        lengths.insert(tokens.len());
        held_out.insert(tokens);
    }
    let mut copies = Vec::new();
    for sample in replayed.of_split(Split::Train) {
        // Tokens of other lengths are not read.
        let may_be = lengths.contains(&replayed.sample(sample as usize).token_count());
        if may_be && held_out.contains(replayed.tokens(sample as usize)?) {
            copies.push(sample);
        }
    }
    Ok(copies)
}

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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use serde_json::Value;

    use super::*;
    use crate::tests::synthetic;

    #[test]
    fn samples_with_the_tokens_of_held_out_ones_are_found_whatever_their_ids() {
        let corpus = synthetic::corpus(5, 3, 2);
        let copy = |index: usize, id: &str| {
            let mut sample = corpus.owned_sample(index).unwrap();
            sample.id = id.to_owned();
            sample.split = Split::Train;
            sample
        };
        let mut other = copy(6, "other");
        other.tokens[0] += 1;
        // Two copies of held-out samples, one of a training sample, and one that differs in a token.
        let replayed = [copy(1, "a"), copy(6, "b"), other, copy(7, "sample 7")];
        let hashes = synthetic::row_hashes(&replayed);
        let replayed = PreparedCorpus::first(&replayed, &hashes, NonZeroU32::MIN, Value::Null).unwrap();
        assert_eq!(copies_of_held_out(&corpus, &replayed).unwrap(), [1, 3]);
        let nothing_held_out = synthetic::corpus(8, 0, 2);
        assert_eq!(
            copies_of_held_out(&nothing_held_out, &replayed).unwrap(),
            [] as [u32; 0]
        );
    }
}
