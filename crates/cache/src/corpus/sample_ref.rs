//! A sample of the prepared corpus without its tokens.

use leadspan_sequence::{Sample, SectionBounds, Split};

/// Everything about a sample of the prepared corpus except its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRef<'a> {
    /// The row's own id, or `FILE:LINE`.
    pub id: &'a str,
    /// Learnt from or held out.
    pub split: Split,
    /// Where its sections begin and end.
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
