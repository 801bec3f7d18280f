//! A request: which positions of every sample, in whatever layers they are stored.

use std::fmt;

use leadspan_sequence::{
    LeadSpanProportion, Section, SectionSet, Split, supervised_position_count, supervised_positions,
};
use serde::{Deserialize, Serialize};

use crate::SampleRef;

/// The positions of a lead-span proportion of every training sample, and of all of every validation sample, whose
/// targets are in some sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The lead-span proportion of training samples. Validation samples are whole.
    pub proportion: LeadSpanProportion,
    /// The sections whose tokens are targets.
    pub sections: SectionSet,
}

impl Coverage {
    /// Every token of samples that have no section but their answer.
    pub(crate) fn whole_answers() -> Self {
        Self {
            proportion: LeadSpanProportion::WHOLE,
            sections: SectionSet::new([Section::Answer]).expect("it is one section"),
        }
    }

    /// The lead-span proportion for a split, which is 1 for validation samples.
    pub fn proportion_of(&self, split: Split) -> LeadSpanProportion {
        match split {
            Split::Train => self.proportion,
            Split::Validation => LeadSpanProportion::WHOLE,
        }
    }

    /// The positions of a sample that are covered, ascending.
    pub fn positions(&self, sample: SampleRef<'_>) -> impl Iterator<Item = u32> + use<> {
        supervised_positions(sample.bounds, self.proportion_of(sample.split), self.sections)
    }

    /// The number of positions of a sample that are covered.
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
