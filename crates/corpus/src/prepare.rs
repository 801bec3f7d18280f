//! The whole way from files to the prepared corpus, and the reading of rows that it shares with appending.
//!
//! Rows are read one after the other, made into samples in parallel chunk by chunk, and taken in again in the order of
//! the rows, so that neither the result nor the first error depends on the number of threads.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    path::{Path, PathBuf},
};

use leadspan_sequence::{Sample, Split};
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::{
    BadRow, ChatTemplate, CorpusError, DataSettings, DropReason, PrepareProgress, PrepareReport, SectionSettings,
    ValidationSize,
    files::{input_files, name_of},
    order::{draw_training, order, split},
    rows::{RawRow, Rows},
    sample_maker::{MadeSample, RowError, SampleMaker},
    tokenize::PlainTokenizer,
};

/// A corpus that is ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Training samples in seeded order, then held-out samples in seeded order.
    pub samples: Vec<Sample>,
    /// What identifies each sample's content, in the same order.
    ///
    /// BLAKE3 of the id's length (8 bytes), the id, the tokens and `prompt_end`, `chain_of_thought_end`, `tokens` of the
    /// bounds (4 bytes each), all little-endian.
    pub row_hashes: Vec<[u8; 32]>,
    /// What became of the rows.
    pub report: PrepareReport,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Rows made into samples at a time: enough to keep every core busy, few enough to hold.
const CHUNK_ROWS: usize = 1024;

/// Bytes of rows read before a chunk is closed early.
const CHUNK_BYTES: usize = 32 << 20;

/// Reads the files of `data`, relative to `base`, and makes samples of their rows.
///
/// `progress` is called on this thread after every chunk of rows.
///
/// # Errors
///
/// Settings that cannot work, files that cannot be found or read, the first malformed row unless those are skipped,
/// an id that occurs twice (also among dropped rows, but not among those that `data.where` leaves out), a held-out count that leaves nothing, or no training sample at
/// all.
pub fn prepare(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    progress: &dyn Fn(PrepareProgress),
) -> Result<Prepared, CorpusError> {
    let mut samples = Vec::new();
    let (report, files) = read_samples(base, data, sections, template, tokenizer, progress, &mut |sample| {
        samples.push(sample);
    })?;
    divided(samples, report, files, data.validation, data.training, data.seed)
}

/// Splits and orders the samples of all rows; `report` does not divide them among the splits yet.
///
/// # Errors
///
/// Where a held-out count leaves nothing, and where there is no training sample.
pub(crate) fn divided(
    mut samples: Vec<Sample>,
    mut report: PrepareReport,
    files: Vec<PathBuf>,
    validation: ValidationSize,
    training: Option<usize>,
    seed: u64,
) -> Result<Prepared, CorpusError> {
    if samples.is_empty() {
        return Err(CorpusError::NoTrainingSamples {
            report: Box::new(report),
        });
    }
    split(&mut samples, validation, seed)?;
    if let Some(most) = training {
        report.leave_out(&draw_training(&mut samples, most, seed));
    }
    let samples = order(samples, seed);
    report.kept_train = samples.iter().filter(|sample| sample.split == Split::Train).count() as u64;
    report.kept_validation = samples.len() as u64 - report.kept_train;
    if report.kept_train == 0 {
        return Err(CorpusError::NoTrainingSamples {
            report: Box::new(report),
        });
    }
    let row_hashes = samples.par_iter().map(row_hash).collect();
    Ok(Prepared {
        samples,
        row_hashes,
        report,
        files,
    })
}

/// Reads all rows and hands their samples to `keep`, in the order of the rows and not split yet.
///
/// Returns what became of the rows, where the samples that are kept are not divided among the splits, and the files.
///
/// # Errors
///
/// Those of [`prepare`] that concern settings, files and single rows.
pub(crate) fn read_samples(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    progress: &dyn Fn(PrepareProgress),
    keep: &mut dyn FnMut(Sample),
) -> Result<(PrepareReport, Vec<PathBuf>), CorpusError> {
    data.check()?;
    sections.check()?;
    let files = input_files(base, data)?;
    let names: Vec<String> = files.iter().map(|path| name_of(base, path)).collect();
    let bytes_total = files
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|metadata| metadata.len())
        .sum();
    let maker = SampleMaker {
        data,
        sections,
        template,
        tokenizer: PlainTokenizer::new(tokenizer)?,
        names: &names,
    };
    let mut rows = Rows::new(files.clone(), data.fields());
    let mut intake = Intake::new(data.on_bad_row, &names, keep);
    loop {
        let (chunk, end) = next_chunk(&mut rows);
        let outcomes: Vec<_> = chunk.par_iter().map(|row| maker.make(row)).collect();
        for (row, outcome) in chunk.iter().zip(outcomes) {
            intake.take(row, outcome)?;
        }
        progress(PrepareProgress {
            rows: intake.report.rows,
            kept: intake.kept,
            bytes_read: rows.bytes_read(),
            bytes_total,
        });
        match end {
            ChunkEnd::Full => {}
            ChunkEnd::Finished => break,
            ChunkEnd::Failed(error) => return Err(error),
        }
    }
    Ok((intake.report, files))
}

/// What identifies a sample's content: see [`Prepared::row_hashes`].
pub(crate) fn row_hash(sample: &Sample) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&(sample.id.len() as u64).to_le_bytes())
        .update(sample.id.as_bytes());
    let bounds = [
        sample.bounds.prompt_end(),
        sample.bounds.chain_of_thought_end(),
        sample.bounds.tokens(),
    ];
    let numbers: Vec<u8> = sample
        .tokens
        .iter()
        .chain(&bounds)
        .flat_map(|number| number.to_le_bytes())
        .collect();
    *hasher.update(&numbers).finalize().as_bytes()
}

enum ChunkEnd {
    Full,
    Finished,
    Failed(CorpusError),
}

/// The next rows, and why there are no more of them; rows before a failure come first, as do their own errors.
fn next_chunk(rows: &mut Rows) -> (Vec<RawRow>, ChunkEnd) {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
        match rows.next_row() {
            Ok(Some(row)) => {
                bytes += row.content.bytes();
                chunk.push(row);
            }
            Ok(None) => return (chunk, ChunkEnd::Finished),
            Err(error) => return (chunk, ChunkEnd::Failed(error)),
        }
    }
    (chunk, ChunkEnd::Full)
}

/// Takes in what became of the rows, in the order of the rows.
pub(crate) struct Intake<'a> {
    on_bad_row: BadRow,
    names: &'a [String],
    /// The file and row of every id.
    places: HashMap<String, (usize, u64)>,
    /// Takes the samples.
    keep: &'a mut dyn FnMut(Sample),
    /// How many it took.
    kept: u64,
    pub(crate) report: PrepareReport,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(on_bad_row: BadRow, names: &'a [String], keep: &'a mut dyn FnMut(Sample)) -> Self {
        Self {
            on_bad_row,
            names,
            places: HashMap::new(),
            keep,
            kept: 0,
            report: PrepareReport::default(),
        }
    }

    pub(crate) fn take(&mut self, row: &RawRow, made: Result<Option<MadeSample>, RowError>) -> Result<(), CorpusError> {
        self.report.rows += 1;
        let made = match made {
            Ok(Some(made)) => made,
            Ok(None) => {
                self.drop_one(DropReason::FilteredOut);
                return Ok(());
            }
            Err(RowError::Fatal(error)) => return Err(error),
            Err(RowError::Bad(problem)) => {
                return match self.on_bad_row {
                    BadRow::Stop => {
                        let file = self.names[row.file].clone();
                        Err(CorpusError::BadRow {
                            file,
                            line: row.number,
                            problem,
                        })
                    }
                    BadRow::Skip => {
                        self.report.add_bad_row(&self.place(row.file, row.number), &problem);
                        Ok(())
                    }
                };
            }
        };
        let MadeSample {
            id,
            without_markers,
            outcome,
        } = made;
        match self.places.entry(id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((row.file, row.number));
            }
            Entry::Occupied(entry) => {
                let &(file, number) = entry.get();
                let (first, second) = (self.place(file, number), self.place(row.file, row.number));
                return Err(CorpusError::DuplicateId { id, first, second });
            }
        }
        self.report.without_markers += u64::from(without_markers);
        match outcome {
            Ok((tokens, bounds)) => {
                self.report.tokens.add(bounds);
                self.kept += 1;
                (self.keep)(Sample {
                    id,
                    split: Split::Train,
                    tokens,
                    bounds,
                });
            }
            Err(reason) => self.drop_one(reason),
        }
        Ok(())
    }

    fn drop_one(&mut self, reason: DropReason) {
        *self.report.dropped.entry(reason).or_default() += 1;
    }

    fn place(&self, file: usize, row: u64) -> String {
        format!("{}:{row}", self.names[file])
    }
}

#[cfg(test)]
mod data_sets;
#[cfg(test)]
mod tests;
