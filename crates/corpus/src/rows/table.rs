//! The rows of Parquet tables and Arrow streams, a batch at a time.
//!
//! A Parquet table is decoded page by page, in small batches. An Arrow stream consists of batches whose size its writer
//! chose; they are read one after the other.
//!
//! A row may have so many bytes as a line of JSON. A small file can hold a dictionary whose one large value every row repeats,
//! so fewer rows are decoded at a time where a page's values may be large. A page of too many bytes is not decoded, and the rows
//! that need it are too long.
//!
//! A damaged file gives an error, if the damage shows. Checksums of pages are compared. Without them, a file that still
//! decodes, such as one with a wrong letter in a text, is not recognised as damaged.

mod pages;
mod size;
mod stream;

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufReader, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
    error::ArrowError,
    ipc::reader::StreamReader,
};
use leadspan_parquet_guard::{Claim, check_footer, page_sizes};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelectionPolicy},
    },
    basic::Compression,
    errors::ParquetError,
};

use self::{
    pages::{Unread, selection, unread},
    size::{batch_bytes, row_bytes},
    stream::{check_messages, is_whole},
};
use super::{RowContent, input::open_file, record};
use crate::{BadRow, CorpusError, bad_row::RowLimit, error::open_error, layout::is_optional};

/// Rows of a Parquet table decoded at a time.
const BATCH_ROWS: usize = 64;

/// Bytes of a batch that may come of one repeated value.
const REPEATED_BYTES: u64 = 64 << 20;

/// Bytes of a batch, if each of its rows has as many as the largest page.
const BATCH_BYTES: u64 = 256 << 20;

/// The most rows of a table: so many whatever its size, and so many more for each of its bytes. A column that holds
/// only nulls, or a file without any of the columns that are read, can claim any number.
const ROWS: u64 = 1 << 20;
const ROWS_A_BYTE: u64 = 64;

/// The rows of a table.
pub(super) struct TableRows {
    path: PathBuf,
    file_bytes: u64,
    /// The number of rows that the file claims at its start, if it does.
    expected: Option<u64>,
    limit: RowLimit,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    current: Option<Batch>,
    /// Rows that are not among the batches, in ascending order.
    unread: VecDeque<Unread>,
    /// Rows given so far.
    given: u64,
    finished: bool,
}

struct Batch {
    rows: Arc<RecordBatch>,
    next: usize,
    /// About how many bytes a row takes.
    row_bytes: usize,
    /// Whether any row may have more bytes than a row may have.
    is_large: bool,
}

impl TableRows {
    pub(super) fn open_parquet(path: &Path, fields: &[String], limit: RowLimit) -> Result<Self, CorpusError> {
        let (file, file_bytes) = open(path)?;
        let damaged = |source| CorpusError::DamagedTable {
            path: path.to_owned(),
            row: 0,
            source,
        };
        let pages = file.try_clone().map_err(|source| open_error(path, source))?;
        let checked = guarded(|| Ok(check_footer(&pages))).map_err(damaged)?;
        checked.map_err(|error| refused(path, error))?;
        let mut metadata =
            guarded(|| Ok(ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?)).map_err(damaged)?;
        let columns = columns(path, metadata.schema(), fields)?;
        if columns
            .iter()
            .any(|&column| is_wide(metadata.schema().field(column).data_type()))
        {
            // As the file's own types, texts have 2 GiB in a batch at most.
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let metadata_of_file = Arc::clone(metadata.metadata());
            metadata = guarded(|| Ok(ArrowReaderMetadata::try_new(metadata_of_file, options)?)).map_err(damaged)?;
        }
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        let is_read = |_, leaf| mask.leaf_included(leaf);
        let chunks = builder
            .metadata()
            .row_groups()
            .iter()
            .flat_map(|group| group.columns().iter().enumerate());
        for (_, chunk) in chunks.filter(|&(leaf, _)| mask.leaf_included(leaf)) {
            check_compression(path, chunk.compression())?;
        }
        let check = || page_sizes(&pages, builder.metadata(), limit.most_bytes, is_read);
        let checked = guarded(|| Ok(check())).map_err(damaged)?;
        let sizes = checked.map_err(|error| refused(path, error))?;
        let unread = unread(builder.metadata(), sizes.large);
        if let Some(first) = unread.first().filter(|_| limit.on_bad_row == BadRow::Stop) {
            return Err(first.refused(path));
        }
        let most_rows = (REPEATED_BYTES / sizes.repeated.max(1)).min(BATCH_BYTES / sizes.largest.max(1));
        let batch_rows = most_rows.clamp(1, BATCH_ROWS as u64) as usize;
        let expected = builder.metadata().file_metadata().num_rows();
        let mut builder = builder.with_projection(mask).with_batch_size(batch_rows);
        if !unread.is_empty() {
            let (groups, rows) = selection(builder.metadata(), &unread);
            // With a mask, all pages would be decoded.
            let builder_of_some = builder.with_row_groups(groups).with_row_selection(rows);
            builder = builder_of_some.with_row_selection_policy(RowSelectionPolicy::Selectors);
        }
        let batches = guarded(|| Ok(builder.build()?));
        Ok(Self {
            path: path.to_owned(),
            file_bytes,
            expected: Some(u64::try_from(expected).unwrap_or(0)),
            limit,
            batches: Box::new(batches.map_err(damaged)?),
            current: None,
            unread: unread.into(),
            given: 0,
            finished: false,
        })
    }

    pub(super) fn open_arrow(path: &Path, fields: &[String], limit: RowLimit) -> Result<Self, CorpusError> {
        let (mut file, file_bytes) = open(path)?;
        let damaged = |source| CorpusError::DamagedTable {
            path: path.to_owned(),
            row: 0,
            source,
        };
        if !is_whole(&mut file).map_err(|source| open_error(path, source))? {
            return Err(CorpusError::NotAnArrowStream { path: path.to_owned() });
        }
        // The columns to read follow from the schema. The reader that is given them reads the schema again.
        let compression = guarded(|| check_messages(&mut BufReader::new(&file), file_bytes)).map_err(damaged)?;
        if let Some(name) = compression {
            return Err(CorpusError::UnsupportedFile {
                path: path.to_owned(),
                what: format!("an Arrow stream whose batches are compressed with {name}"),
            });
        }
        file.rewind().map_err(|source| open_error(path, source))?;
        let schema = guarded(|| Ok(StreamReader::try_new(&mut file, None)?.schema())).map_err(damaged)?;
        let columns = columns(path, &schema, fields)?;
        file.rewind().map_err(|source| open_error(path, source))?;
        let batches = guarded(|| StreamReader::try_new(BufReader::new(file), Some(columns))).map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            file_bytes,
            expected: None,
            limit,
            batches: Box::new(batches),
            current: None,
            unread: VecDeque::new(),
            given: 0,
            finished: false,
        })
    }

    /// The file's bytes in proportion to the rows so far; 0 if the number of rows is not known.
    pub(super) fn bytes_read(&self) -> u64 {
        match self.expected {
            _ if self.finished => self.file_bytes,
            Some(expected) if expected > 0 => {
                let bytes = u128::from(self.file_bytes) * u128::from(self.given.min(expected)) / u128::from(expected);
                bytes as u64
            }
            _ => 0,
        }
    }

    /// The next row and its number, counted from 1; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<(u64, RowContent)>, CorpusError> {
        loop {
            if let Some(content) = self.next_unread() {
                return Ok(Some((self.given, content)));
            }
            if let Some(batch) = &mut self.current
                && batch.next < batch.rows.num_rows()
            {
                let mut content = RowContent::Record {
                    batch: Arc::clone(&batch.rows),
                    index: batch.next,
                    bytes: batch.row_bytes,
                };
                let RowLimit { most_bytes, on_bad_row } = self.limit;
                let too_long = batch.is_large && row_bytes(&batch.rows, batch.next) > most_bytes;
                batch.next += 1;
                self.given += 1;
                if too_long && on_bad_row == BadRow::Stop {
                    return Err(CorpusError::LongRow {
                        path: self.path.clone(),
                        row: self.given,
                        most_bytes,
                    });
                }
                if too_long {
                    content = RowContent::TooLong { most_bytes };
                }
                return Ok(Some((self.given, content)));
            }
            self.current = None;
            if self.finished {
                return Ok(None);
            }
            let batch = guarded(|| self.batches.next().transpose()).map_err(|source| self.damaged(source))?;
            match batch {
                Some(rows) => self.current = Some(self.checked(rows)?),
                None => self.finish()?,
            }
        }
    }

    /// The next row, if it is one of those that are not read.
    fn next_unread(&mut self) -> Option<RowContent> {
        let first = self.unread.front().filter(|first| first.rows.start <= self.given)?;
        let content = RowContent::InLargePage {
            bytes: first.page.bytes,
            most_bytes: first.page.most_bytes,
        };
        self.given += 1;
        if first.rows.end <= self.given {
            self.unread.pop_front();
        }
        Some(content)
    }

    /// The batch, if the file is large enough to hold so many rows.
    fn checked(&self, rows: RecordBatch) -> Result<Batch, CorpusError> {
        let most = ROWS + ROWS_A_BYTE * self.file_bytes;
        if rows.num_rows() as u64 > most.saturating_sub(self.given) {
            let problem = format!("more than {most} rows are claimed by {} bytes", self.file_bytes);
            return Err(self.damaged(ArrowError::ParseError(problem)));
        }
        Ok(Batch::new(rows, self.limit))
    }

    fn finish(&mut self) -> Result<(), CorpusError> {
        self.finished = true;
        match self.expected {
            Some(expected) if expected != self.given => {
                let problem = format!("the table ends here, but is said to have {expected} rows");
                Err(self.damaged(ArrowError::ParquetError(problem)))
            }
            _ => Ok(()),
        }
    }

    fn damaged(&self, source: ArrowError) -> CorpusError {
        CorpusError::DamagedTable {
            path: self.path.clone(),
            row: self.given,
            source,
        }
    }
}

impl Batch {
    fn new(rows: RecordBatch, limit: RowLimit) -> Self {
        let bytes = batch_bytes(&rows);
        Self {
            row_bytes: (bytes / rows.num_rows().max(1) as u64) as usize,
            is_large: bytes > limit.most_bytes,
            rows: Arc::new(rows),
            next: 0,
        }
    }
}

impl Unread {
    /// The error of a table that has such rows, if none may be left out.
    fn refused(&self, path: &Path) -> CorpusError {
        CorpusError::LargePage {
            path: path.to_owned(),
            first: self.rows.start + 1,
            last: self.rows.end,
            place: self.page.place.clone(),
            bytes: self.page.bytes,
            most_bytes: self.page.most_bytes,
        }
    }
}

/// The error of a claim that is refused: the file need not be damaged if it may be true.
fn refused(path: &Path, error: ParquetError) -> CorpusError {
    let path = path.to_owned();
    match Claim::behind(&error) {
        Some(Claim::ManyLevels { most }) => CorpusError::UnsupportedFile {
            path,
            what: format!("a Parquet table whose schema has more than {most} levels"),
        },
        _ => CorpusError::DamagedTable {
            path,
            row: 0,
            source: error.into(),
        },
    }
}

fn open(path: &Path) -> Result<(File, u64), CorpusError> {
    let file = open_file(path)?;
    let bytes = file.metadata().map_err(|source| open_error(path, source))?.len();
    Ok((file, bytes))
}

/// Refuses a compression that cannot be undone here.
fn check_compression(path: &Path, compression: Compression) -> Result<(), CorpusError> {
    let name = match compression {
        Compression::BROTLI(_) => "brotli",
        Compression::LZO => "LZO",
        _ => return Ok(()),
    };
    Err(CorpusError::UnsupportedFile {
        path: path.to_owned(),
        what: format!("a Parquet table whose columns are compressed with {name}"),
    })
}

/// Whether a batch may hold more than 2 GiB of that type, or does not show how large its values are.
fn is_wide(data_type: &DataType) -> bool {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View | DataType::LargeList(_) | DataType::Dictionary(..) => true,
        DataType::List(item) | DataType::FixedSizeList(item, _) => is_wide(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_wide(field.data_type())),
        _ => false,
    }
}

/// The indices of those columns of the table that are needed.
///
/// # Errors
///
/// A column whose values cannot be written as JSON.
fn columns(path: &Path, schema: &Schema, fields: &[String]) -> Result<Vec<usize>, CorpusError> {
    let mut needed = Vec::new();
    for (index, column) in schema.fields().iter().enumerate() {
        if !fields.contains(column.name()) {
            continue;
        }
        if record::is_readable(column.data_type()) {
            needed.push(index);
        } else if !is_optional(column.name(), fields) {
            return Err(CorpusError::UnreadableColumn {
                path: path.to_owned(),
                column: column.name().clone(),
                data_type: column.data_type().to_string(),
            });
        }
    }
    Ok(needed)
}

/// Decodes, and turns a panic into an error: the decoders do not check everything that a damaged file can contain.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    leadspan_files::guarded(decode).unwrap_or_else(|problem| Err(ArrowError::ParseError(problem)))
}

#[cfg(test)]
mod tests;
