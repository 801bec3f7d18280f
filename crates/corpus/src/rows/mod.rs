//! Reads rows from files one after the other, never a whole file at once.
//!
//! The name of a file tells its kind: `.parquet` is a Parquet table, `.arrow` an Arrow stream, everything else is lines
//! of JSON or one JSON array. Each row comes with its place and its fields; this folder does not interpret the fields.

mod input;
mod json_array;
mod json_lines;
mod record;
mod table;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::record_batch::RecordBatch;

use self::{json_lines::JsonRows, table::TableRows};
use crate::{CorpusError, RowProblem, RowRules, bad_row::RowLimit, layout::Row};

/// One row, not parsed yet.
#[derive(Debug, PartialEq)]
pub(crate) struct RawRow {
    /// The index of its file.
    pub(crate) file: usize,
    /// The line, the element of the array, or the row of the table, counted from 1; blank lines count.
    pub(crate) number: u64,
    /// Its content.
    pub(crate) content: RowContent,
}

/// A row as it is stored in its file.
#[derive(Debug, PartialEq)]
pub(crate) enum RowContent {
    /// A line that is not blank or an element of an array, without the white space behind it.
    Line(Vec<u8>),
    /// A row of more bytes than a row may have, which is left out.
    TooLong {
        /// The most bytes that a row may have.
        most_bytes: u64,
    },
    /// A row that lies in a page of too many bytes, which is left out.
    InLargePage {
        /// The bytes of the page.
        bytes: u64,
        /// The most bytes that a page of its file may have.
        most_bytes: u64,
    },
    /// A row of a batch, which it shares with others.
    Record {
        /// The batch.
        batch: Arc<RecordBatch>,
        /// The row in it.
        index: usize,
        /// About how many bytes it takes.
        bytes: usize,
    },
}

impl RowContent {
    /// About how many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Line(bytes) => bytes.len(),
            Self::TooLong { .. } | Self::InLargePage { .. } => 0,
            Self::Record { bytes, .. } => *bytes,
        }
    }

    /// The row's fields.
    ///
    /// # Errors
    ///
    /// A line that is not a JSON object, a number that JSON does not have, and a row of too many bytes.
    pub(crate) fn fields(&self, rules: RowRules) -> Result<Row, RowProblem> {
        let row = match self {
            Self::Line(bytes) => json_lines::parse(bytes, rules)?,
            Self::TooLong { most_bytes } => {
                return Err(RowProblem::TooLong {
                    most_bytes: *most_bytes,
                });
            }
            &Self::InLargePage { bytes, most_bytes } => return Err(RowProblem::InLargePage { bytes, most_bytes }),
            Self::Record { batch, index, .. } => record::fields(batch, *index, rules)?,
        };
        Ok(match rules {
            RowRules::First => row.with_numbers_as_floats(),
            _ => row,
        })
    }
}

/// The kind of a file of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Lines of JSON or a JSON array, plain or compressed.
    Json,
    /// A Parquet table.
    Parquet,
    /// An Arrow stream.
    Arrow,
}

impl FileKind {
    /// The kind of a file of that name.
    pub(crate) fn of(path: &Path) -> Self {
        let extension = path.extension().map(OsStr::to_ascii_lowercase);
        match extension.as_deref().and_then(OsStr::to_str) {
            Some("parquet") => Self::Parquet,
            Some("arrow") => Self::Arrow,
            _ => Self::Json,
        }
    }
}

/// The rows of several files.
pub(crate) struct RowReader {
    files: Vec<PathBuf>,
    /// The fields that are needed; other columns of a table are not read.
    fields: Vec<String>,
    limit: RowLimit,
    next_file: usize,
    current: Option<FileRows>,
    /// Bytes of the files before the current one.
    bytes_before: u64,
}

enum FileRows {
    Json(JsonRows),
    Table(TableRows),
}

impl FileRows {
    fn next(&mut self) -> Result<Option<(u64, RowContent)>, CorpusError> {
        match self {
            Self::Json(rows) => rows.next(),
            Self::Table(table) => table.next(),
        }
    }

    fn bytes_read(&self) -> u64 {
        match self {
            Self::Json(rows) => rows.bytes_read(),
            Self::Table(table) => table.bytes_read(),
        }
    }
}

impl RowReader {
    pub(crate) fn new(files: Vec<PathBuf>, fields: Vec<String>, limit: RowLimit) -> Self {
        Self {
            files,
            fields,
            limit,
            next_file: 0,
            current: None,
            bytes_before: 0,
        }
    }

    /// Bytes read so far, counted on disk. For a table, they are in proportion to its rows.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_before + self.current.as_ref().map_or(0, FileRows::bytes_read)
    }

    /// The next row; `None` after the last of the last file.
    pub(crate) fn next_row(&mut self) -> Result<Option<RawRow>, CorpusError> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(path) = self.files.get(self.next_file) else {
                    return Ok(None);
                };
                self.current = Some(self.open(path)?);
                self.next_file += 1;
                continue;
            };
            if let Some((number, content)) = current.next()? {
                return Ok(Some(RawRow {
                    file: self.next_file - 1,
                    number,
                    content,
                }));
            }
            self.bytes_before += current.bytes_read();
            self.current = None;
        }
    }

    fn open(&self, path: &Path) -> Result<FileRows, CorpusError> {
        Ok(match FileKind::of(path) {
            FileKind::Json => FileRows::Json(JsonRows::open(path, self.limit)?),
            FileKind::Parquet => FileRows::Table(TableRows::open_parquet(path, &self.fields, self.limit)?),
            FileKind::Arrow => FileRows::Table(TableRows::open_arrow(path, &self.fields, self.limit)?),
        })
    }
}
