//! What the positions of a model hold, and what is not a model.

use super::Precision;
use crate::EntrySettings;

/// What the positions of a model hold, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How exactly numbers are stored.
    pub precision: Precision,
    /// How many temperatures have a tail term.
    pub temperatures: usize,
    /// Whether tokens drawn from the tail are stored.
    pub tail_samples: bool,
    /// The most entries, and the most drawn tokens, that a position may have: a run of what costs no bits would go on for ever
    /// in a forged block.
    most: [u32; 2],
}

impl Layout {
    /// What `settings` store, at `precision`.
    pub fn new(settings: &EntrySettings, precision: Precision) -> Self {
        Self {
            precision,
            temperatures: settings.temperatures.len(),
            tail_samples: settings.tail_samples > 0,
            most: [settings.top_k, settings.tail_samples],
        }
    }

    /// The most entries that a position may have.
    pub(super) fn most_entries(&self) -> usize {
        self.most[0] as usize
    }

    /// The most drawn tokens that a position may have.
    pub(super) fn most_drawn(&self) -> usize {
        self.most[1] as usize
    }
}

/// Bytes that are not a block of their model, or numbers that are not a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The block does not decode to as many positions as it should have, with nothing left over.
    #[error("a block does not decode to the positions it should hold")]
    Damaged,
    /// Frequencies that do not sum to 4096, or not one list for each context.
    #[error("the token frequencies of a row group are not those of a model")]
    NotAModel,
}
