//! The fields that a model stores per position, and the codec's errors.

use super::Precision;
use crate::EntrySettings;

/// The fields that a model stores per position, and their precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The precision of stored numbers.
    pub precision: Precision,
    /// The number of temperatures that have a tail term.
    pub temperatures: usize,
    /// Whether tokens drawn from the tail are stored.
    pub tail_samples: bool,
    /// The maximum number of entries, and of drawn tokens, per position. It bounds what a forged block decodes to: symbols
    /// that cost no bits could otherwise repeat forever.
    most: [u32; 2],
}

impl Layout {
    /// The layout of `settings` at `precision`.
    pub fn new(settings: &EntrySettings, precision: Precision) -> Self {
        Self {
            precision,
            temperatures: settings.temperatures.len(),
            tail_samples: settings.tail_samples > 0,
            most: [settings.top_k, settings.tail_samples],
        }
    }

    /// The maximum number of entries per position.
    pub(super) fn most_entries(&self) -> usize {
        self.most[0] as usize
    }

    /// The maximum number of drawn tokens per position.
    pub(super) fn most_drawn(&self) -> usize {
        self.most[1] as usize
    }
}

/// Bytes that are not a block of the given model, or numbers that are not a valid model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The block does not decode to exactly the expected number of positions.
    #[error("a block does not decode to the positions it should hold")]
    Damaged,
    /// Frequencies do not sum to 4096, or the number of lists is not the number of contexts.
    #[error("the token frequencies of a row group are not those of a model")]
    NotAModel,
}
