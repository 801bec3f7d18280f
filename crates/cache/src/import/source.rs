//! What an import reads: samples with their tokens, and then their positions.

use std::ops::Range;

use leadspan_sequence::{SectionBounds, Split};
use serde_json::Value;

use super::{ImportError, entries::Positions};
use crate::{Coverage, PreparedCorpus};

/// A sample with its tokens.
pub(super) struct Given<'a> {
    pub(super) id: &'a str,
    pub(super) split: Split,
    pub(super) tokens: &'a [u32],
    pub(super) bounds: SectionBounds,
}

/// What the files say of all positions, which becomes part of the cache's identity.
pub(super) struct Stated {
    /// The name of the layout.
    pub(super) layout: &'static str,
    /// A hash of everything that is imported.
    pub(super) blake3: String,
    /// What is known of tails and of targets, in words.
    pub(super) tail: &'static str,
    pub(super) targets: &'static str,
    /// The rule by which sections were found.
    pub(super) sections: Value,
    /// The most entries of a position.
    pub(super) top_k: u32,
    /// The positions that there are.
    pub(super) coverage: Coverage,
    /// What the files say of the teacher, which nobody can check.
    pub(super) teacher: Option<Value>,
}

/// Files that are imported.
pub(super) trait Source {
    fn stated(&self) -> Stated;

    /// The split of each sample, training samples first.
    fn splits(&self) -> Vec<Split>;

    /// Gives every sample in order.
    ///
    /// # Errors
    ///
    /// Those of `each`, and of files that are damaged or say what cannot be.
    fn samples(&self, each: &mut dyn FnMut(Given<'_>) -> Result<(), ImportError>) -> Result<(), ImportError>;

    /// Gives the positions of each of some samples of the corpus that [`samples`](Self::samples) gave, in order. `each` gets
    /// the sample's index and says whether to go on.
    ///
    /// # Errors
    ///
    /// As [`samples`](Self::samples).
    fn spans(
        &self,
        corpus: &PreparedCorpus,
        samples: Range<usize>,
        each: &mut dyn FnMut(usize, Positions) -> Result<bool, ImportError>,
    ) -> Result<(), ImportError>;
}
