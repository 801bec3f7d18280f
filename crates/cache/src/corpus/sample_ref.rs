//! A view of a sample of the prepared corpus, without its tokens.

use leadspan_sequence::{Sample, SectionBounds, Split};

/// A sample of the prepared corpus without its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRef<'a> {
    /// The id that the row states, or `FILE:LINE`.
    pub id: &'a str,
    /// Whether it is trained on or held out.
    pub split: Split,
    /// Where its sections begin and end, in tokens.
    pub bounds: SectionBounds,
}

impl SampleRef<'_> {
    /// The number of its tokens.
    pub fn token_count(&self) -> usize {
        self.bounds.tokens() as usize
    }
}

impl<'a> From<&'a Sample> for SampleRef<'a> {
    fn from(sample: &'a Sample) -> Self {
        Self {
            id: &sample.id,
            split: sample.split,
            bounds: sample.bounds,
        }
    }
}
