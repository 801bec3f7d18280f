//! The prepared corpus in memory: samples in their final order, and the work units they form.

use std::{fmt, num::NonZeroU32, ops::Range, sync::Arc};

use leadspan_sequence::{Sample, Split};
use serde_json::Value;

use crate::CacheError;

/// Consecutive samples of one split: what a worker takes, and what one shard of a layer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkUnit {
    /// The split of all its samples.
    pub split: Split,
    /// Its number among the units of that split, from 0.
    pub number: u32,
    /// Which samples of the corpus it holds.
    pub samples: Range<usize>,
}

impl fmt::Display for WorkUnit {
    /// The stem of its shards' file names, such as `train-000004`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:06}", self.split, self.number)
    }
}

/// The prepared corpus of a cache. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct PreparedCorpus(Arc<Contents>);

#[derive(Debug)]
struct Contents {
    samples: Vec<Sample>,
    row_hashes: Vec<[u8; 32]>,
    units: Vec<WorkUnit>,
    samples_per_shard: NonZeroU32,
    facts: Value,
}

impl PreparedCorpus {
    /// A corpus from its parts, whose units were checked to cover the samples in order.
    pub(crate) fn new(
        samples: Vec<Sample>,
        row_hashes: Vec<[u8; 32]>,
        units: Vec<WorkUnit>,
        samples_per_shard: NonZeroU32,
        facts: Value,
    ) -> Self {
        Self(Arc::new(Contents {
            samples,
            row_hashes,
            units,
            samples_per_shard,
            facts,
        }))
    }

    /// The samples, training samples first.
    pub fn samples(&self) -> &[Sample] {
        &self.0.samples
    }

    /// A hash of each sample's row, in the same order.
    pub fn row_hashes(&self) -> &[[u8; 32]] {
        &self.0.row_hashes
    }

    /// The work units, in order; together they hold every sample once.
    pub fn units(&self) -> &[WorkUnit] {
        &self.0.units
    }

    /// How many samples a full work unit has.
    pub fn samples_per_shard(&self) -> NonZeroU32 {
        self.0.samples_per_shard
    }

    /// What the caller stored about how the corpus was prepared.
    pub fn facts(&self) -> &Value {
        &self.0.facts
    }

    /// Indices of the samples of one split.
    pub fn of_split(&self, split: Split) -> impl Iterator<Item = u32> {
        let in_split = move |(index, sample): (usize, &Sample)| (sample.split == split).then_some(index as u32);
        self.0.samples.iter().enumerate().filter_map(in_split)
    }

    /// The number of tokens of all samples.
    pub fn total_tokens(&self) -> u64 {
        self.0.samples.iter().map(|sample| sample.tokens.len() as u64).sum()
    }

    /// The index in [`units`](Self::units) of the unit that holds a sample.
    pub fn unit_of(&self, sample: u32) -> Option<usize> {
        let unit = self.0.units.partition_point(|unit| unit.samples.end <= sample as usize);
        (unit < self.0.units.len()).then_some(unit)
    }

    /// A hash of a unit's rows, which ties its shards to this corpus.
    pub(crate) fn unit_fingerprint(&self, unit: &WorkUnit) -> String {
        let mut hasher = blake3::Hasher::new();
        for row_hash in &self.0.row_hashes[unit.samples.clone()] {
            hasher.update(row_hash);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Cuts samples, given by their splits, into work units.
///
/// # Errors
///
/// Where a training sample follows a validation sample.
pub(crate) fn plan_units(
    splits: impl IntoIterator<Item = Split>,
    samples_per_shard: NonZeroU32,
) -> Result<Vec<WorkUnit>, CacheError> {
    let mut units: Vec<WorkUnit> = Vec::new();
    for (index, split) in splits.into_iter().enumerate() {
        match units.last_mut() {
            Some(unit) if unit.split == split && unit.samples.len() < samples_per_shard.get() as usize => {
                unit.samples.end = index + 1;
            }
            Some(unit) if unit.split > split => {
                let problem = format!("sample {index} is a training sample behind a validation sample");
                return Err(CacheError::UnstorableCorpus { problem });
            }
            before => {
                let number = before
                    .filter(|unit| unit.split == split)
                    .map_or(0, |unit| unit.number + 1);
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
            plan_units(splits, NonZeroU32::new(2).unwrap()).unwrap(),
            [
                unit(Train, 0, 0..2),
                unit(Train, 1, 2..4),
                unit(Train, 2, 4..5),
                unit(Validation, 0, 5..7),
                unit(Validation, 1, 7..8),
            ]
        );
        assert_eq!(plan_units([], NonZeroU32::MIN).unwrap(), []);
        assert_eq!(
            plan_units([Validation], NonZeroU32::MAX).unwrap(),
            [unit(Validation, 0, 0..1)]
        );
    }

    #[test]
    fn training_samples_behind_validation_samples_are_refused() {
        let error = plan_units([Train, Validation, Train], NonZeroU32::MIN).unwrap_err();
        assert!(error.to_string().contains("sample 2"), "{error}");
    }

    #[test]
    fn units_are_named_for_their_split_and_number() {
        assert_eq!(unit(Train, 4, 0..1).to_string(), "train-000004");
        assert_eq!(unit(Validation, 0, 0..1).to_string(), "validation-000000");
    }

    #[test]
    fn every_sample_is_found_in_the_unit_that_holds_it() {
        let corpus = crate::synthetic::corpus(11, 4, 3);
        for (index, unit) in corpus.units().iter().enumerate() {
            for sample in unit.samples.clone() {
                assert_eq!(corpus.unit_of(sample as u32), Some(index));
            }
        }
        assert_eq!(corpus.unit_of(corpus.samples().len() as u32), None);
    }
}
