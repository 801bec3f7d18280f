//! From files to samples in the order of the rows: what preparing and appending share.
//!
//! Rows are read one after the other and made into samples in parallel, chunk by chunk. The outcomes are then counted
//! in the order of the rows, so neither the result nor the first error depends on the number of threads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::{
    ChatTemplate, CorpusError, DataSettings, PrepareProgress, PrepareReport, PreparedSample, RowRules, SectionSettings,
    files::{input_files, name_of},
    intake::Intake,
    rows::{RawRow, RowReader},
    sample_maker::SampleMaker,
    template::rendering_pool,
};

/// The most rows of a chunk: enough to keep every core busy, few enough to hold in memory.
const CHUNK_ROWS: usize = 1024;

/// Bytes of rows after which a chunk ends early.
const CHUNK_BYTES: usize = 8 << 20;

/// The files that rows are read from.
pub(crate) struct Input {
    /// Their paths, in order.
    pub(crate) files: Vec<PathBuf>,
    /// Their names in ids and messages, in the same order.
    pub(crate) names: Vec<String>,
    /// Bytes of all of them on disk.
    pub(crate) bytes: u64,
}

impl Input {
    /// The files of `data`, relative to `base`.
    ///
    /// # Errors
    ///
    /// Settings that cannot work, and files that cannot be found.
    pub(crate) fn find(base: &Path, data: &DataSettings, sections: &SectionSettings) -> Result<Self, CorpusError> {
        data.check()?;
        sections.check()?;
        let files = input_files(base, data)?;
        let sizes = files.iter().filter_map(|path| fs::metadata(path).ok());
        Ok(Self {
            names: files.iter().map(|path| name_of(base, path)).collect(),
            bytes: sizes.map(|metadata| metadata.len()).sum(),
            files,
        })
    }

    /// A reader of their rows, for these rules.
    pub(crate) fn rows(&self, data: &DataSettings, rules: RowRules) -> RowReader {
        RowReader::new(self.files.clone(), data.fields(rules), data.row_limit())
    }
}

/// What rows are read from, and how they become samples.
#[derive(Clone, Copy)]
pub(crate) struct HowRead<'a> {
    pub(crate) base: &'a Path,
    pub(crate) data: &'a DataSettings,
    pub(crate) sections: &'a SectionSettings,
    pub(crate) template: &'a ChatTemplate,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) rules: RowRules,
}

/// Reads all rows and hands their samples to `sink`, in the order of the rows.
///
/// Returns the counts of rows, in which kept samples are not yet divided among the splits, and the files.
///
/// # Errors
///
/// The errors of `sink`, and those of [`prepare`](crate::prepare()) that concern settings, files and single rows.
pub(crate) fn read_samples<E: From<CorpusError>>(
    how: HowRead<'_>,
    progress: &dyn Fn(PrepareProgress),
    sink: &mut dyn FnMut(PreparedSample) -> Result<(), E>,
) -> Result<(PrepareReport, Vec<PathBuf>), E> {
    let HowRead { data, sections, .. } = how;
    let input = Input::find(how.base, data, sections)?;
    let maker = SampleMaker::new(data, sections, how.template, how.tokenizer, &input.names, how.rules)?;
    let mut rows = input.rows(data, how.rules);
    let mut intake = Intake::new(data.on_bad_row, &input.names);
    let mut kept = 0;
    let pool = rendering_pool();
    let mut chunk = Chunk::next(&mut rows);
    loop {
        let bytes_read = rows.bytes_read();
        // The next rows are read while these become samples, so that no core waits for the decoder.
        let made = || -> Vec<_> { chunk.rows.par_iter().map(|row| maker.make(row)).collect() };
        let mut both = || rayon::join(made, || chunk.end.is_none().then(|| Chunk::next(&mut rows)));
        let (outcomes, next) = match &pool {
            Some(pool) => pool.install(both),
            None => both(),
        };
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
            bytes_total: input.bytes,
        });
        match (next, chunk.end) {
            (Some(next), _) => chunk = next,
            (None, Some(Err(error))) => return Err(error.into()),
            (None, _) => break,
        }
    }
    Ok((intake.report, input.files))
}

/// Consecutive rows, and whether they are the last.
struct Chunk {
    rows: Vec<RawRow>,
    /// Why there are no more rows; `None` if there are.
    end: Option<Result<(), CorpusError>>,
}

impl Chunk {
    /// The next rows. If reading fails, the rows before the failure are returned with it, so that their own errors come
    /// first.
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
