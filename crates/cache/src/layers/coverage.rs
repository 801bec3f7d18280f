//! What is asked for of every sample, whatever layers it is stored in.

use std::fmt;

use leadspan_sequence::{LeadSpanProportion, SectionSet, Split, supervised_position_count, supervised_positions};
use serde::{Deserialize, Serialize};

use crate::SampleRef;

/// A proportion of every training sample (validation samples are whole), of some sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// How much of each training sample; validation samples are whole.
    pub proportion: LeadSpanProportion,
    /// Whose tokens are targets.
    pub sections: SectionSet,
}

impl Coverage {
    /// The proportion kept of the samples of a split: all of a validation sample.
    pub fn proportion_of(&self, split: Split) -> LeadSpanProportion {
        match split {
            Split::Train => self.proportion,
            Split::Validation => LeadSpanProportion::WHOLE,
        }
    }

    /// The positions of a sample that this covers, ascending.
    pub fn positions(&self, sample: SampleRef<'_>) -> impl Iterator<Item = u32> + use<> {
        supervised_positions(sample.bounds, self.proportion_of(sample.split), self.sections)
    }

    /// How many positions of a sample this covers.
    pub fn position_count(&self, sample: SampleRef<'_>) -> usize {
        supervised_position_count(sample.bounds, self.proportion_of(sample.split), self.sections)
    }
}

impl fmt::Display for Coverage {
    /// Such as `proportion 0.5 of prompt+chain_of_thought+answer`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "proportion {} of {}", self.proportion, self.sections)
    }
}
