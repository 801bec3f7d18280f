//! Work units: how the samples of a part are divided among shards.

use std::{fmt, num::NonZeroU32, ops::Range};

use leadspan_sequence::Split;

use crate::CacheError;

/// Consecutive samples of one split. A worker takes one unit at a time, and a shard holds one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkUnit {
    /// The split of its samples.
    pub split: Split,
    /// Its number among the units of that split, from 0.
    pub number: u32,
    /// The indices of its samples in the corpus.
    pub samples: Range<usize>,
}

impl fmt::Display for WorkUnit {
    /// The stem of the file names of its shards, such as `train-000004`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:06}", self.split, self.number)
    }
}

/// Divides the samples of a new part, given by their splits, into work units that follow the units `before`.
///
/// The numbers of a split's units continue. The last unit of an earlier part gets no further samples, because its
/// shards may exist already.
///
/// # Errors
///
/// [`CacheError::UnstorableCorpus`] if a training sample follows a validation sample of the same part.
pub(crate) fn plan_units(
    before: &[WorkUnit],
    splits: impl IntoIterator<Item = Split>,
    samples_per_shard: NonZeroU32,
) -> Result<Vec<WorkUnit>, CacheError> {
    let first = before.last().map_or(0, |unit| unit.samples.end);
    let mut units: Vec<WorkUnit> = Vec::new();
    for (index, split) in splits.into_iter().enumerate() {
        let index = first + index;
        match units.last_mut() {
            Some(unit) if unit.split == split && unit.samples.len() < samples_per_shard.get() as usize => {
                unit.samples.end = index + 1;
            }
            Some(unit) if unit.split > split => {
                let problem = format!("sample {index} is a training sample after a validation sample");
                return Err(CacheError::UnstorableCorpus { problem });
            }
            _ => {
                let number = next_number(before.iter().chain(&units), split);
                units.push(WorkUnit {
                    split,
                    number,
                    samples: index..index + 1,
                });
            }
        }
    }
    Ok(units)
}

/// The number of the next unit of a split after `units`.
pub(crate) fn next_number<'a>(units: impl DoubleEndedIterator<Item = &'a WorkUnit>, split: Split) -> u32 {
    units
        .rev()
        .find(|unit| unit.split == split)
        .map_or(0, |unit| unit.number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Split::{Train, Validation};

    fn unit(split: Split, number: u32, samples: Range<usize>) -> WorkUnit {
        WorkUnit { split, number, samples }
    }

    #[test]
    fn units_are_consecutive_samples_of_one_split() {
        let splits = [Train, Train, Train, Train, Train, Validation, Validation, Validation];
        assert_eq!(
            plan_units(&[], splits, NonZeroU32::new(2).unwrap()).unwrap(),
            [
                unit(Train, 0, 0..2),
                unit(Train, 1, 2..4),
                unit(Train, 2, 4..5),
                unit(Validation, 0, 5..7),
                unit(Validation, 1, 7..8),
            ]
        );
        assert_eq!(plan_units(&[], [], NonZeroU32::MIN).unwrap(), []);
        assert_eq!(
            plan_units(&[], [Validation], NonZeroU32::MAX).unwrap(),
            [unit(Validation, 0, 0..1)]
        );
    }

    #[test]
    fn units_of_a_later_part_go_on_counting_and_fill_up_none_of_an_earlier_one() {
        let before = [
            unit(Train, 0, 0..4),
            unit(Train, 1, 4..5),
            unit(Validation, 0, 5..7),
            unit(Train, 2, 7..8),
        ];
        let splits = [Train, Train, Train, Train, Train, Validation];
        assert_eq!(
            plan_units(&before, splits, NonZeroU32::new(4).unwrap()).unwrap(),
            [
                unit(Train, 3, 8..12),
                unit(Train, 4, 12..13),
                unit(Validation, 1, 13..14)
            ]
        );
        assert_eq!(plan_units(&before, [], NonZeroU32::MIN).unwrap(), []);
    }

    #[test]
    fn training_samples_behind_validation_samples_are_refused() {
        let error = plan_units(&[], [Train, Validation, Train], NonZeroU32::MIN).unwrap_err();
        assert!(error.to_string().contains("sample 2"), "{error}");
    }

    #[test]
    fn units_are_named_for_their_split_and_number() {
        assert_eq!(unit(Train, 4, 0..1).to_string(), "train-000004");
        assert_eq!(unit(Validation, 0, 0..1).to_string(), "validation-000000");
    }
}
