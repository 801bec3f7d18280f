//! The whole way from files to the prepared corpus, and the reading of rows that it shares with appending.
//!
//! Rows are read one after the other, made into samples in parallel chunk by chunk, and taken in again in the order of
//! the rows, so that neither the result nor the first error depends on the number of threads.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    path::{Path, PathBuf},
};

use leadspan_sequence::{Sample, SectionBounds, Split};
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::{
    BadRow, ChatTemplate, CorpusError, DataSettings, DropReason, PrepareProgress, PrepareReport, SectionSettings,
    ValidationSize,
    files::{input_files, name_of},
    order::{Arranging, Place},
    rows::{RawRow, RowReader},
    sample_maker::{MadeSample, RowError, SampleMaker},
    tokenize::PlainTokenizer,
};

/// One sample as [`prepare_into`] gives it: its place and split are known only after the last row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedSample {
    /// The row's own id, or `FILE:LINE`.
    pub id: String,
    /// Token ids of the whole templated sequence.
    pub tokens: Vec<u32>,
    /// Where its sections begin and end.
    pub bounds: SectionBounds,
    /// What identifies its content: see [`Prepared::row_hashes`].
    pub row_hash: [u8; 32],
}

/// The order of a corpus whose samples went to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// The samples that the corpus consists of: training samples in seeded order, then held-out samples in seeded order.
    ///
    /// A sample is known by its number: how many samples the sink took before it. A sample that was not drawn
    /// ([`DropReason::NotDrawn`]) has no place.
    pub places: Vec<Place>,
    /// What became of the rows.
    pub report: PrepareReport,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

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
const CHUNK_BYTES: usize = 8 << 20;

/// Reads the files of `data`, relative to `base`, makes samples of their rows and hands each to `sink`, in the order of
/// the rows.
///
/// Two chunks of rows are in memory at a time, and of samples that the sink took only ids and bounds. `progress` and
/// `sink` are called on this thread, `progress` after every chunk of rows.
///
/// # Errors
///
/// What `sink` returns, and the errors of [`prepare`].
pub fn prepare_into<E: From<CorpusError>>(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    progress: &dyn Fn(PrepareProgress),
    sink: &mut dyn FnMut(PreparedSample) -> Result<(), E>,
) -> Result<Arrangement, E> {
    let mut arranging = Arranging::default();
    let (report, files) = read_samples(base, data, sections, template, tokenizer, progress, &mut |sample| {
        arranging.add(&sample.id, sample.bounds);
        sink(sample)
    })?;
    Ok(arrange(
        &arranging,
        report,
        files,
        data.validation,
        data.training,
        data.seed,
    )?)
}

/// Reads the files of `data`, relative to `base`, and makes samples of their rows.
///
/// All samples are in memory in the end; [`prepare_into`] does without. `progress` is called on this thread after every
/// chunk of rows.
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
    let arrangement = prepare_into(base, data, sections, template, tokenizer, progress, &mut |sample| {
        samples.push(sample);
        Ok::<(), CorpusError>(())
    })?;
    let Arrangement { places, report, files } = arrangement;
    let (samples, row_hashes) = placed(samples, &places);
    Ok(Prepared {
        samples,
        row_hashes,
        report,
        files,
    })
}

/// Splits and orders the samples of all rows; `report` does not divide them among the splits yet.
///
/// # Errors
///
/// A held-out count that leaves nothing, and no training sample.
pub(crate) fn arrange(
    arranging: &Arranging,
    mut report: PrepareReport,
    files: Vec<PathBuf>,
    validation: ValidationSize,
    training: Option<usize>,
    seed: u64,
) -> Result<Arrangement, CorpusError> {
    if arranging.is_empty() {
        return Err(CorpusError::NoTrainingSamples {
            report: Box::new(report),
        });
    }
    let mut places = arranging.split(validation, seed)?;
    if let Some(most) = training {
        let left_out = arranging.draw_training(&mut places, most, seed);
        report.leave_out(left_out.into_iter().map(|sample| arranging.bounds(sample)));
    }
    let places = arranging.order(places, seed);
    report.kept_train = places.iter().filter(|place| place.split == Split::Train).count() as u64;
    report.kept_validation = places.len() as u64 - report.kept_train;
    if report.kept_train == 0 {
        return Err(CorpusError::NoTrainingSamples {
            report: Box::new(report),
        });
    }
    Ok(Arrangement { places, report, files })
}

/// The samples in their places, and their row hashes.
pub(crate) fn placed(samples: Vec<PreparedSample>, places: &[Place]) -> (Vec<Sample>, Vec<[u8; 32]>) {
    let mut samples: Vec<Option<PreparedSample>> = samples.into_iter().map(Some).collect();
    places
        .iter()
        .map(|place| {
            let sample = samples[place.sample].take().expect("a sample has one place");
            let row_hash = sample.row_hash;
            let sample = Sample {
                id: sample.id,
                split: place.split,
                tokens: sample.tokens,
                bounds: sample.bounds,
            };
            (sample, row_hash)
        })
        .unzip()
}

/// Reads all rows and hands their samples to `sink`, in the order of the rows.
///
/// Returns what became of the rows, where the samples that are kept are not divided among the splits, and the files.
///
/// # Errors
///
/// What `sink` returns, and those errors of [`prepare`] that concern settings, files and single rows.
pub(crate) fn read_samples<E: From<CorpusError>>(
    base: &Path,
    data: &DataSettings,
    sections: &SectionSettings,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    progress: &dyn Fn(PrepareProgress),
    sink: &mut dyn FnMut(PreparedSample) -> Result<(), E>,
) -> Result<(PrepareReport, Vec<PathBuf>), E> {
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
    let mut rows = RowReader::new(files.clone(), data.fields());
    let mut intake = Intake::new(data.on_bad_row, &names);
    let mut kept = 0;
    let mut chunk = Chunk::next(&mut rows);
    loop {
        let bytes_read = rows.bytes_read();
        // The next rows are read while these are made into samples, so that no core waits for the decoder.
        let made = || -> Vec<_> { chunk.rows.par_iter().map(|row| maker.make(row)).collect() };
        let (outcomes, next) = rayon::join(made, || chunk.end.is_none().then(|| Chunk::next(&mut rows)));
        for (row, outcome) in chunk.rows.iter().zip(outcomes) {
            if let Some(sample) = intake.take(row, outcome)? {
                kept += 1;
                sink(sample)?;
            }
        }
        progress(PrepareProgress {
            rows: intake.report.rows,
            kept,
            bytes_read,
            bytes_total,
        });
        match (next, chunk.end) {
            (Some(next), _) => chunk = next,
            (None, Some(Err(error))) => return Err(error.into()),
            (None, _) => break,
        }
    }
    Ok((intake.report, files))
}

/// Some rows, and whether they are the last.
struct Chunk {
    rows: Vec<RawRow>,
    /// Why there are no more rows; `None` if there are.
    end: Option<Result<(), CorpusError>>,
}

impl Chunk {
    /// The next rows. Rows before a failure come first, as do their own errors.
    fn next(reader: &mut RowReader) -> Self {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            match reader.next_row() {
                Ok(Some(row)) => {
                    bytes += row.content.bytes();
                    rows.push(row);
                }
                Ok(None) => {
                    return Self {
                        rows,
                        end: Some(Ok(())),
                    };
                }
                Err(error) => {
                    return Self {
                        rows,
                        end: Some(Err(error)),
                    };
                }
            }
        }
        Self { rows, end: None }
    }
}

/// Takes in what became of the rows, in the order of the rows.
pub(crate) struct Intake<'a> {
    on_bad_row: BadRow,
    names: &'a [String],
    /// The file and row of every id, by the id's BLAKE3: ids may be long, and there are as many as rows.
    places: HashMap<[u8; 32], (usize, u64)>,
    pub(crate) report: PrepareReport,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(on_bad_row: BadRow, names: &'a [String]) -> Self {
        Self {
            on_bad_row,
            names,
            places: HashMap::new(),
            report: PrepareReport::default(),
        }
    }

    /// Counts a row; returns its sample if it has one.
    pub(crate) fn take(
        &mut self,
        row: &RawRow,
        made: Result<Option<MadeSample>, RowError>,
    ) -> Result<Option<PreparedSample>, CorpusError> {
        self.report.rows += 1;
        let made = match made {
            Ok(Some(made)) => made,
            Ok(None) => {
                self.drop_one(DropReason::FilteredOut);
                return Ok(None);
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
                        Ok(None)
                    }
                };
            }
        };
        let MadeSample {
            id,
            without_markers,
            outcome,
        } = made;
        match self.places.entry(*blake3::hash(id.as_bytes()).as_bytes()) {
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
            Ok(content) => {
                self.report.tokens.add(content.bounds);
                Ok(Some(PreparedSample {
                    id,
                    tokens: content.tokens,
                    bounds: content.bounds,
                    row_hash: content.row_hash,
                }))
            }
            Err(reason) => {
                self.drop_one(reason);
                Ok(None)
            }
        }
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
