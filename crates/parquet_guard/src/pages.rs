//! Compares the sizes that the pages of a Parquet file claim with what the file can hold.

use std::ops::Range;

use parquet::{
    basic::Encoding,
    errors::ParquetError,
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData},
        reader::ChunkReader,
    },
};

use crate::{
    Claim,
    thrift::{Reader, Value},
};

/// The bytes that a page may claim: a constant, and an amount for each byte of the file. Pages usually have a megabyte. A
/// page with one huge row can have much more, but its file is then large as well.
const PAGE_BYTES: u64 = 16 << 20;
const PAGE_BYTES_A_BYTE: u64 = 8;
/// The values that a page may claim: a constant, and an amount for each byte of the file. Runs of one value take almost no
/// bytes.
const VALUES: u64 = 1 << 22;
const VALUES_A_BYTE: u64 = 16;
/// The kind of a page that holds a dictionary.
const DICTIONARY_PAGE: i64 = 2;
/// The field of a header with what pages of the second version have.
const SECOND_VERSION: i64 = 8;
/// The most bytes of a page, as a multiple of the most bytes of a row. Writers end a page after about a thousand rows.
const PAGE_ROWS: u64 = 16;
/// Bytes that are read first for a page's header; nearly all headers are shorter.
const HEADER_BYTES: u64 = 256;

/// Pages that are larger than room is made for, and the size of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageSizes {
    /// The bytes of the largest page whose values a reader may repeat: a dictionary, or a page of values that continue those
    /// before them. No value that a reader makes of such a page is larger, but any number of values may be as large.
    pub repeated: u64,
    /// The bytes of the largest page of any kind.
    pub largest: u64,
    /// The pages with too many bytes. None of them counts for the sizes above.
    pub large: Vec<LargePage>,
}

/// A page that would have more bytes, once it is decompressed, than room is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargePage {
    /// The column and the row group.
    pub place: String,
    /// The row group.
    pub group: usize,
    /// Its rows, counted from 0 in the row group: all rows of the group if the page is a dictionary, or if its header does not
    /// tell how many rows it has.
    pub rows: Range<u64>,
    /// The bytes that it would have.
    pub bytes: u64,
    /// The most bytes that a page of this file may have.
    pub most_bytes: u64,
}

/// Checks that the pages of some columns lie in the file and claim no more than it can hold.
///
/// `metadata` is that of the file. `wanted` gets the indices of a row group and of a leaf of the schema, and says whether
/// to check that column. Only the headers of pages are read. The check is valid for readers that read the pages one after
/// the other, as the library does if it is given no page index.
///
/// # Errors
///
/// The first claim that does not hold, or the error that prevents reading the file.
pub fn check_pages(
    file: &impl ChunkReader,
    metadata: &ParquetMetaData,
    wanted: impl Fn(usize, usize) -> bool,
) -> Result<(), ParquetError> {
    let sizes = sizes(file, metadata, bytes_of_page(file), wanted)?;
    let large = sizes.large.into_iter().next();
    large.map_or(Ok(()), |page| {
        Err(Claim::LargePage {
            place: page.place,
            bytes: page.bytes,
            most_bytes: page.most_bytes,
        }
        .into())
    })
}

/// Like [`check_pages`], but returns the pages that have too many bytes, for a reader that passes over them.
///
/// A page may have as many bytes as a row (`row_bytes`) whatever the file's size, and no more than 16 rows.
///
/// # Errors
///
/// As [`check_pages`].
pub fn page_sizes(
    file: &impl ChunkReader,
    metadata: &ParquetMetaData,
    row_bytes: u64,
    wanted: impl Fn(usize, usize) -> bool,
) -> Result<PageSizes, ParquetError> {
    let most_bytes = bytes_of_page(file).clamp(row_bytes, row_bytes.saturating_mul(PAGE_ROWS));
    sizes(file, metadata, most_bytes, wanted)
}

/// The most bytes that a page of a file may have, if nothing is known of its rows.
fn bytes_of_page(file: &impl ChunkReader) -> u64 {
    PAGE_BYTES + PAGE_BYTES_A_BYTE * file.len()
}

fn sizes(
    file: &impl ChunkReader,
    metadata: &ParquetMetaData,
    most_bytes: u64,
    wanted: impl Fn(usize, usize) -> bool,
) -> Result<PageSizes, ParquetError> {
    let mut sizes = PageSizes::default();
    for (group, column, chunk) in chunks(metadata).filter(|(group, column, _)| wanted(*group, *column)) {
        let column = Column {
            chunk,
            group,
            rows: u64::try_from(metadata.row_group(group).num_rows()).unwrap_or(0),
            most_bytes,
            place: format!("column {column} of row group {group}"),
        };
        column.check(file, &mut sizes)?;
    }
    Ok(sizes)
}

/// Checks, before the page index is read, that its lists are no longer than their bytes.
///
/// # Errors
///
/// As [`check_pages`].
pub fn check_page_index(file: &impl ChunkReader, metadata: &ParquetMetaData) -> Result<(), ParquetError> {
    for (group, column, chunk) in chunks(metadata) {
        if let (Some(start), Some(bytes)) = (chunk.offset_index_offset(), chunk.offset_index_length()) {
            let place = || format!("the page index of column {column} of row group {group}");
            let index = inside(file, start, i64::from(bytes)).ok_or_else(|| beyond(&place()))?;
            let bytes = file.get_bytes(index.start, (index.end - index.start) as usize)?;
            if Reader::new(&bytes).structure().is_none() {
                return Err(Claim::Untrue(format!("{} is longer than its bytes", place())).into());
            }
        }
    }
    Ok(())
}

/// All column chunks, each with its row group and column.
fn chunks(metadata: &ParquetMetaData) -> impl Iterator<Item = (usize, usize, &ColumnChunkMetaData)> {
    metadata.row_groups().iter().enumerate().flat_map(|(group, row_group)| {
        let chunks = row_group.columns().iter().enumerate();
        chunks.map(move |(column, chunk)| (group, column, chunk))
    })
}

/// The range of `bytes` bytes from `start`, or `None` if the file is shorter.
fn inside(file: &impl ChunkReader, start: i64, bytes: i64) -> Option<Range<u64>> {
    let (start, bytes) = (u64::try_from(start).ok()?, u64::try_from(bytes).ok()?);
    let end = start.checked_add(bytes)?;
    (end <= file.len()).then_some(start..end)
}

fn beyond(place: &str) -> Claim {
    Claim::Untrue(format!("{place} extends past the end of the file"))
}

/// A column of a row group, and what its pages may have.
struct Column<'a> {
    chunk: &'a ColumnChunkMetaData,
    group: usize,
    /// The rows of the group.
    rows: u64,
    most_bytes: u64,
    place: String,
}

impl Column<'_> {
    fn check(&self, file: &impl ChunkReader, sizes: &mut PageSizes) -> Result<(), ParquetError> {
        let mut encodings = self.chunk.encodings();
        let continued = encodings.any(|encoding| encoding == Encoding::DELTA_BYTE_ARRAY);
        let beyond = || beyond(&self.place);
        let start = self
            .chunk
            .dictionary_page_offset()
            .unwrap_or(self.chunk.data_page_offset());
        let all = inside(file, start, self.chunk.compressed_size()).ok_or_else(beyond)?;
        // `None` once a page did not tell how many rows it has.
        let (mut at, mut row) = (all.start, Some(0));
        while at < all.end {
            let header = page_header(file, at..all.end)?
                .ok_or_else(|| Claim::Untrue(format!("{} has a page without a header", self.place)))?;
            at += header.bytes;
            let bytes = u64::try_from(header.compressed)
                .ok()
                .filter(|&bytes| bytes <= all.end - at)
                .ok_or_else(beyond)?;
            at += bytes;
            let untrue = |claimed, what| {
                let page = format!("a page of {} claims {claimed} {what}", self.place);
                Claim::Untrue(format!("{page} in a file of {} bytes", file.len()))
            };
            let bytes = u64::try_from(header.uncompressed).map_err(|_| untrue(header.uncompressed, "bytes"))?;
            let most_values = VALUES + VALUES_A_BYTE * file.len();
            if !u64::try_from(header.values).is_ok_and(|values| values <= most_values) {
                return Err(untrue(header.values, "values").into());
            }
            let rows = self.rows_of(&header, &mut row);
            if bytes > self.most_bytes {
                sizes.large.push(LargePage {
                    place: self.place.clone(),
                    group: self.group,
                    rows,
                    bytes,
                    most_bytes: self.most_bytes,
                });
                continue;
            }
            sizes.largest = sizes.largest.max(bytes);
            if continued || header.is_dictionary {
                sizes.repeated = sizes.repeated.max(bytes);
            }
        }
        Ok(())
    }

    /// The rows of a page, of which `next` is the first; all rows of the group if they are not known.
    fn rows_of(&self, header: &PageHeader, next: &mut Option<u64>) -> Range<u64> {
        if header.is_dictionary {
            return 0..self.rows;
        }
        let is_flat = self.chunk.column_descr().max_rep_level() == 0;
        let rows = header.rows.or(is_flat.then_some(header.values));
        let first = *next;
        *next = first
            .zip(rows)
            .and_then(|(first, rows)| first.checked_add(u64::try_from(rows).ok()?));
        match (first, *next) {
            (Some(first), Some(end)) if first < end && end <= self.rows => first..end,
            _ => 0..self.rows,
        }
    }
}

/// The numbers in the header of a page.
struct PageHeader {
    /// Bytes of the header itself.
    bytes: u64,
    uncompressed: i64,
    compressed: i64,
    values: i64,
    /// The number of rows, which only pages of the second version have.
    rows: Option<i64>,
    is_dictionary: bool,
}

/// The header at the start of `range`, or `None` if there is none.
fn page_header(file: &impl ChunkReader, range: Range<u64>) -> Result<Option<PageHeader>, ParquetError> {
    let all = range.end - range.start;
    let mut length = HEADER_BYTES.min(all);
    loop {
        let bytes = file.get_bytes(range.start, length as usize)?;
        if let Some(header) = parsed(&bytes) {
            return Ok(Some(header));
        }
        if length == all {
            return Ok(None);
        }
        length = (length * 16).min(all);
    }
}

fn parsed(bytes: &[u8]) -> Option<PageHeader> {
    let mut reader = Reader::new(bytes);
    let fields = reader.structure()?;
    let number = |field| {
        fields.iter().find_map(|(at, value)| match value {
            Value::Number(number) if *at == field => Some(*number),
            _ => None,
        })
    };
    // Each kind of page has a header of its own. All of them begin with the number of values.
    let values = fields.iter().filter_map(|(at, value)| match value {
        Value::Struct(inner) if (5..=8).contains(at) => inner.iter().find(|(field, _)| *field == 1),
        _ => None,
    });
    Some(PageHeader {
        uncompressed: number(2)?,
        compressed: number(3)?,
        values: values.map(|(_, number)| *number).max().unwrap_or(0),
        rows: fields.iter().find_map(|(at, value)| match value {
            Value::Struct(inner) if *at == SECOND_VERSION => {
                inner.iter().find(|(field, _)| *field == 3).map(|(_, rows)| *rows)
            }
            _ => None,
        }),
        is_dictionary: number(1) == Some(DICTIONARY_PAGE),
        bytes: reader.used() as u64,
    })
}

#[cfg(test)]
mod tests;
