//! The prepared corpus: samples in their final order, the work units they form, and the parts in which they were added.
//!
//! An opened corpus is mapped, so a process holds its tokens, ids and section bounds only as pages that the system can
//! drop.

use std::{num::NonZeroU32, ops::Range, sync::Arc};

use leadspan_sequence::{Sample, Split};
use serde_json::Value;

use super::{
    columns::{Columns, ColumnsBuilder},
    sample_ref::SampleRef,
    work_unit::{WorkUnit, plan_units},
};
use crate::CacheError;

/// Samples that were prepared together: those of the first preparation, or those appended by a later one.
#[derive(Clone, Debug, PartialEq)]
pub struct CorpusPart {
    /// The indices of its samples, training samples before validation samples.
    pub samples: Range<usize>,
    /// The indices of its work units. A unit belongs to one part.
    pub units: Range<usize>,
    /// How it was prepared, as the caller stated it.
    pub provenance: Value,
}

/// The prepared corpus of a cache. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct PreparedCorpus(Arc<Contents>);

#[derive(Clone, Debug)]
struct Contents {
    /// The samples of each part.
    columns: Vec<Arc<Columns>>,
    units: Vec<WorkUnit>,
    /// At least one. Together they hold every sample and every unit once, in order.
    parts: Vec<CorpusPart>,
    samples_per_shard: NonZeroU32,
}

impl PreparedCorpus {
    /// A corpus whose units and parts have been checked: they cover the samples in order.
    ///
    /// # Panics
    ///
    /// If there is no part.
    pub(crate) fn new(
        columns: Vec<Arc<Columns>>,
        units: Vec<WorkUnit>,
        parts: Vec<CorpusPart>,
        samples_per_shard: NonZeroU32,
    ) -> Self {
        assert!(!parts.is_empty(), "a corpus has a first part");
        Self(Arc::new(Contents {
            columns,
            units,
            parts,
            samples_per_shard,
        }))
    }

    /// A corpus of one part in memory, divided into work units.
    ///
    /// # Errors
    ///
    /// Those of [`append`](Self::append).
    pub fn first(
        samples: &[Sample],
        row_hashes: &[[u8; 32]],
        samples_per_shard: NonZeroU32,
        provenance: Value,
    ) -> Result<Self, CacheError> {
        let mut corpus = Self(Arc::new(Contents {
            columns: Vec::new(),
            units: Vec::new(),
            parts: Vec::new(),
            samples_per_shard,
        }));
        corpus.append(samples, row_hashes, provenance)?;
        Ok(corpus)
    }

    /// Appends a part, in work units of its own.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnstorableCorpus`] if samples and hashes differ in number, a sample's tokens and sections differ
    /// in length, or a training sample follows a validation sample.
    pub fn append(&mut self, samples: &[Sample], row_hashes: &[[u8; 32]], provenance: Value) -> Result<(), CacheError> {
        let units = self.plan_part(samples, row_hashes)?;
        let mut columns = ColumnsBuilder::default();
        for (sample, row_hash) in samples.iter().zip(row_hashes) {
            columns.push(sample.into(), &sample.tokens, row_hash);
        }
        let (first, first_unit) = (self.len(), self.units().len());
        let contents = Arc::make_mut(&mut self.0);
        contents.columns.push(Arc::new(columns.finish()));
        contents.units.extend(units);
        contents.parts.push(CorpusPart {
            samples: first..first + samples.len(),
            units: first_unit..contents.units.len(),
            provenance,
        });
        Ok(())
    }

    /// The work units of a part that is appended.
    fn plan_part(&self, samples: &[Sample], row_hashes: &[[u8; 32]]) -> Result<Vec<WorkUnit>, CacheError> {
        check_samples(self.len(), samples, row_hashes)?;
        let splits = samples.iter().map(|sample| sample.split);
        plan_units(self.units(), splits, self.samples_per_shard())
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.0.parts.last().map_or(0, |part| part.samples.end)
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sample with this index, without its tokens.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn sample(&self, index: usize) -> SampleRef<'_> {
        let (columns, row) = self.row(index);
        columns.sample(row)
    }

    /// All samples, part by part; in each part, training samples come before validation samples.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = SampleRef<'_>> {
        self.samples_of(0..self.len())
    }

    /// The samples with these indices.
    pub fn samples_of(&self, indices: Range<usize>) -> impl ExactSizeIterator<Item = SampleRef<'_>> {
        indices.map(|index| self.sample(index))
    }

    /// The tokens of a sample.
    ///
    /// # Errors
    ///
    /// [`CacheError::Damaged`] if they differ from their checksum.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn tokens(&self, index: usize) -> Result<&[u32], CacheError> {
        let (columns, row) = self.row(index);
        columns.tokens(row)
    }

    /// The largest token id of a sample, or 0 if it has no tokens. Does not read the tokens.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn largest_token(&self, index: usize) -> u32 {
        let (columns, row) = self.row(index);
        columns.largest_tokens[row]
    }

    /// The column of the data that says how much of each sample is kept; `None` if it was not stored with all samples.
    pub fn lead_span_column(&self) -> Option<&str> {
        let with_samples = self.0.columns.iter().filter(|columns| columns.len() > 0);
        let mut names = with_samples.map(|columns| columns.lead_spans.as_ref().map(|spans| spans.column.as_str()));
        let first = names.next().flatten()?;
        names.all(|other| other == Some(first)).then_some(first)
    }

    /// How many tokens of a sample are kept, as that column says.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn lead_span_tokens(&self, index: usize) -> Option<u32> {
        let (columns, row) = self.row(index);
        columns.lead_spans.as_ref().map(|spans| spans.tokens[row])
    }

    /// The hash of a sample's row.
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn row_hash(&self, index: usize) -> &[u8; 32] {
        let (columns, row) = self.row(index);
        columns.row_hash(row)
    }

    /// A copy of a sample in memory.
    ///
    /// # Errors
    ///
    /// Those of [`tokens`](Self::tokens).
    ///
    /// # Panics
    ///
    /// If there is no such sample.
    pub fn owned_sample(&self, index: usize) -> Result<Sample, CacheError> {
        let SampleRef { id, split, bounds } = self.sample(index);
        Ok(Sample {
            id: id.to_owned(),
            split,
            tokens: self.tokens(index)?.to_vec(),
            bounds,
        })
    }

    /// Compares the tokens of some samples with their checksums.
    ///
    /// # Errors
    ///
    /// Those of [`tokens`](Self::tokens).
    pub fn check_tokens(&self, mut indices: Range<usize>) -> Result<(), CacheError> {
        indices.try_for_each(|index| self.tokens(index).map(drop))
    }

    /// The columns that hold a sample, and its row in them.
    fn row(&self, index: usize) -> (&Columns, usize) {
        let Contents { columns, parts, .. } = &*self.0;
        let part = parts.partition_point(|part| part.samples.end <= index);
        assert!(part < parts.len(), "sample {index} of {}", self.len());
        (&columns[part], index - parts[part].samples.start)
    }

    /// The samples of each part.
    pub(crate) fn columns(&self) -> &[Arc<Columns>] {
        &self.0.columns
    }

    /// The work units, in order. Together they hold every sample once.
    pub fn units(&self) -> &[WorkUnit] {
        &self.0.units
    }

    /// The number of samples of a full work unit.
    pub fn samples_per_shard(&self) -> NonZeroU32 {
        self.0.samples_per_shard
    }

    /// The parts, in the order of their preparation; at least one.
    pub fn parts(&self) -> &[CorpusPart] {
        &self.0.parts
    }

    /// The part that was prepared last.
    pub fn newest_part(&self) -> &CorpusPart {
        self.0.parts.last().expect("a corpus has a first part")
    }

    /// How the newest part was prepared, as the caller stated it.
    pub fn provenance(&self) -> &Value {
        &self.newest_part().provenance
    }

    /// The indices of the samples of one split.
    pub fn of_split(&self, split: Split) -> impl Iterator<Item = u32> {
        let of_split = self.units().iter().filter(move |unit| unit.split == split);
        of_split.flat_map(|unit| unit.samples.start as u32..unit.samples.end as u32)
    }

    /// The number of tokens of all samples.
    pub fn total_tokens(&self) -> u64 {
        let tokens = |columns: &Arc<Columns>| columns.token_ends.last().copied().unwrap_or(0);
        self.0.columns.iter().map(tokens).sum()
    }

    /// The index in [`units`](Self::units) of the unit that holds a sample; `None` if there is no such sample.
    pub fn unit_of(&self, sample: u32) -> Option<usize> {
        let unit = self.0.units.partition_point(|unit| unit.samples.end <= sample as usize);
        (unit < self.0.units.len()).then_some(unit)
    }

    /// A hash of a unit's rows. Its shards contain it, so that a shard of another corpus is recognized.
    pub(crate) fn unit_fingerprint(&self, unit: &WorkUnit) -> String {
        let mut hasher = blake3::Hasher::new();
        for index in unit.samples.clone() {
            hasher.update(self.row_hash(index));
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Checks that samples can be stored behind `before` others.
///
/// # Errors
///
/// [`CacheError::UnstorableCorpus`] if samples and hashes differ in number, a sample's tokens and sections differ in
/// length, or there are more than 2^32 − 1 samples.
pub(crate) fn check_samples(before: usize, samples: &[Sample], row_hashes: &[[u8; 32]]) -> Result<(), CacheError> {
    let unstorable = |problem| Err(CacheError::UnstorableCorpus { problem });
    let total = before + samples.len();
    if samples.len() != row_hashes.len() {
        let (samples, hashes) = (samples.len(), row_hashes.len());
        return unstorable(format!("{samples} samples have {hashes} row hashes"));
    }
    if u32::try_from(total).is_err() {
        return unstorable(format!("{total} samples are more than 2^32 − 1"));
    }
    let misfit = samples
        .iter()
        .find(|sample| sample.tokens.len() != sample.bounds.tokens() as usize);
    match misfit {
        Some(Sample { id, tokens, bounds, .. }) => unstorable(format!(
            "sample `{id}` has {} tokens, but its sections end at {}",
            tokens.len(),
            bounds.tokens()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Split::{Train, Validation};

    fn unit(split: Split, number: u32, samples: Range<usize>) -> WorkUnit {
        WorkUnit { split, number, samples }
    }

    #[test]
    fn a_part_that_is_appended_leaves_what_was_there_in_its_place() {
        let first = crate::tests::synthetic::corpus(5, 2, 4);
        let more = crate::tests::synthetic::appended(7, 6);
        let mut corpus = first.clone();
        corpus
            .append(&more, &crate::tests::synthetic::row_hashes(&more), Value::from(1))
            .unwrap();
        assert_eq!(first.len(), 7, "a clone does not change with it");
        let samples = crate::tests::synthetic::samples_of(&corpus);
        assert_eq!(samples[..7], crate::tests::synthetic::samples_of(&first));
        let hashes = crate::tests::synthetic::row_hashes_of(&corpus);
        assert_eq!(hashes[..7], crate::tests::synthetic::row_hashes_of(&first));
        assert_eq!(&corpus.units()[..3], first.units());
        assert_eq!(samples[7..], more);
        assert_eq!(&corpus.units()[3..], [unit(Train, 2, 7..11), unit(Train, 3, 11..13)]);
        assert_eq!(
            corpus.of_split(Train).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12]
        );
        assert_eq!(corpus.of_split(Validation).collect::<Vec<_>>(), [5, 6]);
        let [one, two] = corpus.parts() else {
            panic!("there are two parts")
        };
        assert_eq!(
            (&one.samples, &one.units, &one.provenance),
            (&(0..7), &(0..3), first.provenance())
        );
        assert_eq!(
            (&two.samples, &two.units, &two.provenance),
            (&(7..13), &(3..5), corpus.provenance())
        );
        assert_every_sample_is_found(&corpus);
    }

    #[test]
    fn every_sample_is_found_in_the_unit_that_holds_it() {
        assert_every_sample_is_found(&crate::tests::synthetic::corpus(11, 4, 3));
    }

    fn assert_every_sample_is_found(corpus: &PreparedCorpus) {
        for (index, unit) in corpus.units().iter().enumerate() {
            for sample in unit.samples.clone() {
                assert_eq!(corpus.unit_of(sample as u32), Some(index));
            }
        }
        assert_eq!(corpus.unit_of(corpus.len() as u32), None);
    }
}
