//! Rows of a table that several Parquet files hold, from any row on.
//!
//! The files may come from strangers: their footers and pages are checked before the library decodes them, and a panic of
//! the library is an error. Columns are given in the types that the caller asks for.

use std::{
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field},
};
use leadspan_files::open_regular;
use leadspan_parquet_guard::{check_footer, check_pages};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
};

use super::ImportError;

/// What is done with a batch: it gets the first row and the columns, and says whether to go on.
type Each<'a> = &'a mut dyn FnMut(u64, &[ArrayRef]) -> Result<bool, ImportError>;

/// A column that is read: its name and the type in which its values are given.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) data_type: DataType,
}

impl Column {
    pub(super) fn new(name: &'static str, data_type: DataType) -> Self {
        Self { name, data_type }
    }

    /// A column of lists of `data_type`.
    pub(super) fn list(name: &'static str, data_type: DataType) -> Self {
        Self::new(name, list_of(data_type))
    }

    /// A column of lists of lists of `data_type`.
    pub(super) fn nested(name: &'static str, data_type: DataType) -> Self {
        Self::new(name, list_of(list_of(data_type)))
    }
}

fn list_of(data_type: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", data_type, true)))
}

/// The files of a table, in order.
#[derive(Debug)]
pub(super) struct Table {
    parts: Vec<Part>,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    /// The rows of the table that the file holds.
    rows: Range<u64>,
}

impl Table {
    /// Opens the files and checks what their footers and the headers of their pages claim.
    ///
    /// # Errors
    ///
    /// [`ImportError::Columns`] if a file lacks one of `columns`; [`ImportError::Table`] if it is damaged;
    /// [`ImportError::Io`] if it cannot be opened.
    pub(super) fn open(paths: &[PathBuf], columns: Vec<Column>) -> Result<Self, ImportError> {
        let mut parts: Vec<Part> = Vec::new();
        for path in paths {
            let file = open(path)?;
            let metadata = guarded(path, || {
                check_footer(&file)?;
                ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            })?;
            if let Some(column) = columns
                .iter()
                .find(|column| metadata.schema().field_with_name(column.name).is_err())
            {
                return Err(wrong_columns(path, &metadata, format!("`{}` is missing", column.name)));
            }
            let count = |column: &Column| {
                let fields = metadata.schema().fields().iter();
                fields.filter(|field| field.name() == column.name).count()
            };
            if let Some(column) = columns.iter().find(|column| count(column) > 1) {
                return Err(wrong_columns(
                    path,
                    &metadata,
                    format!("`{}` is there twice", column.name),
                ));
            }
            let mask = mask(&metadata, &columns);
            guarded(path, || {
                check_pages(&file, metadata.metadata(), |_, leaf| mask.leaf_included(leaf))
            })?;
            let claimed = metadata.metadata().file_metadata().num_rows();
            let rows = u64::try_from(claimed).map_err(|_| damaged(path, format!("it claims {claimed} rows")))?;
            let first = parts.last().map_or(0, |part| part.rows.end);
            let end = first.checked_add(rows).filter(|&end| end < 1 << 40);
            let end = end.ok_or_else(|| damaged(path, format!("it claims {claimed} rows")))?;
            parts.push(Part {
                path: path.clone(),
                metadata,
                rows: first..end,
            });
        }
        Ok(Self { parts, columns })
    }

    /// The number of rows of all files.
    pub(super) fn rows(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.rows.end)
    }

    /// The rows of each file.
    pub(super) fn files(&self) -> impl Iterator<Item = Range<u64>> {
        self.parts.iter().map(|part| part.rows.clone())
    }

    /// The error of a row, which is counted over all files from 0.
    pub(super) fn wrong_row(&self, row: u64, problem: impl Into<String>) -> ImportError {
        let (path, row) = match self.parts.iter().find(|part| part.rows.contains(&row)) {
            Some(part) => (part.path.clone(), row - part.rows.start + 1),
            None => (PathBuf::new(), row + 1),
        };
        ImportError::Row {
            path,
            row,
            problem: problem.into(),
        }
    }

    /// Reads some rows in batches of up to `batch_rows`, and of them the columns with these names, in this order. `each` gets
    /// the first row of a batch and its columns, and says whether to go on.
    ///
    /// # Errors
    ///
    /// Those of `each`, and the error of a file that is damaged or has values that the asked type does not have.
    pub(super) fn read(
        &self,
        rows: Range<u64>,
        names: &[&str],
        batch_rows: usize,
        each: Each<'_>,
    ) -> Result<(), ImportError> {
        for part in &self.parts {
            let wanted = part.rows.start.max(rows.start)..part.rows.end.min(rows.end);
            if wanted.is_empty() {
                continue;
            }
            let columns: Vec<&Column> = names
                .iter()
                .filter_map(|name| self.columns.iter().find(|column| column.name == *name))
                .collect();
            let mut next = wanted.start;
            let mut batches = part.batches(&wanted, &columns, batch_rows)?;
            while let Some(batch) = guarded(&part.path, || Ok(batches.next().transpose()?))? {
                let arrays = columns.iter().map(|column| part.cast(&batch, column, next));
                let arrays: Vec<ArrayRef> = arrays.collect::<Result<_, _>>()?;
                if !each(next, &arrays)? {
                    return Ok(());
                }
                next += batch.num_rows() as u64;
            }
            if next != wanted.end {
                let problem = format!("it ends after row {}, but claims more rows", next - part.rows.start);
                return Err(damaged(&part.path, problem));
            }
        }
        Ok(())
    }
}

impl Part {
    /// A reader of some of the table's rows, which the file holds.
    fn batches(
        &self,
        wanted: &Range<u64>,
        columns: &[&Column],
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader, ImportError> {
        let file = open(&self.path)?;
        let (mut first, mut groups, mut skipped) = (self.rows.start, Vec::new(), None);
        for (number, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let end = first + u64::try_from(group.num_rows()).unwrap_or(0);
            if first < wanted.end && end > wanted.start {
                skipped.get_or_insert(wanted.start.saturating_sub(first));
                groups.push(number);
            }
            first = end;
        }
        let columns: Vec<Column> = columns.iter().map(|&column| column.clone()).collect();
        let mask = mask(&self.metadata, &columns);
        guarded(&self.path, || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_row_groups(groups)
                .with_projection(mask)
                .with_offset(skipped.unwrap_or(0) as usize)
                .with_limit((wanted.end - wanted.start) as usize)
                .with_batch_size(batch_rows)
                .build()
        })
    }

    /// A column in the type that is asked for. `first` is the table's row at which the batch begins.
    fn cast(&self, batch: &RecordBatch, column: &Column, first: u64) -> Result<ArrayRef, ImportError> {
        let name = column.name;
        let found = batch
            .column_by_name(name)
            .ok_or_else(|| damaged(&self.path, format!("`{name}` is gone")))?;
        let row = first - self.rows.start + 1;
        if has_nulls(found) {
            let problem = format!(
                "`{name}` has no value in this row or one of the {} after it",
                batch.num_rows() - 1
            );
            return Err(ImportError::Row {
                path: self.path.clone(),
                row,
                problem,
            });
        }
        if kind(found.data_type()) != kind(&column.data_type) {
            let (found, wanted) = (found.data_type(), &column.data_type);
            let problem = format!("`{name}` is {found}, not {wanted}");
            return Err(wrong_columns(&self.path, &self.metadata, problem));
        }
        let exactly = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let cast = leadspan_files::guarded(|| cast_with_options(found, &column.data_type, &exactly));
        let problem = match cast {
            Ok(Ok(array)) if !has_nulls(&array) => return Ok(array),
            Ok(Ok(_)) => "some values are lost".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        let found = found.data_type();
        Err(wrong_columns(
            &self.path,
            &self.metadata,
            format!(
                "`{name}` ({found}) is not {}: {problem} (from row {row} on)",
                column.data_type
            ),
        ))
    }
}

/// Which values of a type can be given in another type of the same kind: how many lists are around them, and what they are.
fn kind(data_type: &DataType) -> (usize, &'static str) {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let (lists, of) = kind(item.data_type());
            (lists + 1, of)
        }
        found if found.is_integer() => (0, "integers"),
        found if found.is_floating() => (0, "numbers"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => (0, "texts"),
        _ => (0, "something else"),
    }
}

/// Whether a value, or a value of a list in it, is missing.
fn has_nulls(array: &ArrayRef) -> bool {
    let inside = match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().values()),
        DataType::LargeList(_) => Some(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().values()),
        _ => None,
    };
    array.null_count() > 0 || inside.is_some_and(has_nulls)
}

fn mask(metadata: &ArrowReaderMetadata, columns: &[Column]) -> ProjectionMask {
    ProjectionMask::columns(metadata.parquet_schema(), columns.iter().map(|column| column.name))
}

fn wrong_columns(path: &Path, metadata: &ArrowReaderMetadata, wanted: String) -> ImportError {
    ImportError::Columns {
        path: path.to_owned(),
        found: in_words(metadata.schema().fields().iter().map(|field| field.name())),
        wanted,
    }
}

/// Names of columns.
pub(super) fn in_words<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{}`", name.escape_debug())).collect();
    match names.as_slice() {
        [] => "no columns".to_owned(),
        names => format!("the columns {}", names.join(", ")),
    }
}

fn open(path: &Path) -> Result<File, ImportError> {
    open_regular(path).map_err(ImportError::io("open", path))
}

fn damaged(path: &Path, problem: String) -> ImportError {
    ImportError::Table {
        path: path.to_owned(),
        source: ParquetError::General(problem),
    }
}

/// Runs the Parquet library on the file at `path`. A panic becomes an error.
pub(super) fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ImportError> {
    let result = leadspan_files::guarded(decode).unwrap_or_else(|problem| Err(ParquetError::General(problem)));
    result.map_err(|source| match source {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(source) => ImportError::io("read", path)(*source),
            Err(cause) => ImportError::Table {
                path: path.to_owned(),
                source: ParquetError::External(cause),
            },
        },
        source => ImportError::Table {
            path: path.to_owned(),
            source,
        },
    })
}

/// The names of a Parquet file's columns.
///
/// # Errors
///
/// As [`Table::open`].
pub(super) fn column_names(path: &Path) -> Result<Vec<String>, ImportError> {
    let file = open(path)?;
    guarded(path, || {
        check_footer(&file)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        Ok(metadata
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect())
    })
}
