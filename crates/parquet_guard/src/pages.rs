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
/// Bytes that are read first for a page's header; nearly all headers are shorter.
const HEADER_BYTES: u64 = 256;

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
    check_pages_within(file, metadata, u64::MAX, wanted).map(drop)
}

/// Like [`check_pages`], but no page may have more than `most_bytes` once it is decompressed, whatever the file's size.
///
/// Returns the bytes of the largest page whose values a reader may repeat: a dictionary, or a page of values that continue
/// those before them. No value that a reader makes of such a page is larger, but any number of values may be as large.
///
/// # Errors
///
/// As [`check_pages`].
pub fn check_pages_within(
    file: &impl ChunkReader,
    metadata: &ParquetMetaData,
    most_bytes: u64,
    wanted: impl Fn(usize, usize) -> bool,
) -> Result<u64, ParquetError> {
    let mut repeated = 0;
    for (group, column, chunk) in chunks(metadata).filter(|(group, column, _)| wanted(*group, *column)) {
        let place = || format!("column {column} of row group {group}");
        repeated = check_column(file, chunk, most_bytes, &place)?.max(repeated);
    }
    Ok(repeated)
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

fn check_column(
    file: &impl ChunkReader,
    chunk: &ColumnChunkMetaData,
    most_bytes: u64,
    place: &dyn Fn() -> String,
) -> Result<u64, ParquetError> {
    let continued = chunk.encodings().any(|encoding| encoding == Encoding::DELTA_BYTE_ARRAY);
    let mut repeated = 0;
    let beyond = || beyond(&place());
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let all = inside(file, start, chunk.compressed_size()).ok_or_else(beyond)?;
    let mut at = all.start;
    while at < all.end {
        let header = page_header(file, at..all.end)?
            .ok_or_else(|| Claim::Untrue(format!("{} has a page without a header", place())))?;
        at += header.bytes;
        let bytes = u64::try_from(header.compressed)
            .ok()
            .filter(|&bytes| bytes <= all.end - at)
            .ok_or_else(beyond)?;
        at += bytes;
        let file_bytes = file.len();
        let untrue = |claimed, what| {
            let page = format!("a page of {} claims {claimed} {what}", place());
            Claim::Untrue(format!("{page} in a file of {file_bytes} bytes"))
        };
        let bytes = u64::try_from(header.uncompressed).map_err(|_| untrue(header.uncompressed, "bytes"))?;
        let most_bytes = most_bytes.min(PAGE_BYTES + PAGE_BYTES_A_BYTE * file_bytes);
        if bytes > most_bytes {
            let place = place();
            return Err(Claim::LargePage {
                place,
                bytes,
                most_bytes,
            }
            .into());
        }
        let most_values = VALUES + VALUES_A_BYTE * file_bytes;
        if !u64::try_from(header.values).is_ok_and(|values| values <= most_values) {
            return Err(untrue(header.values, "values").into());
        }
        if continued || header.is_dictionary {
            repeated = repeated.max(header.uncompressed as u64);
        }
    }
    Ok(repeated)
}

/// The numbers in the header of a page.
struct PageHeader {
    /// Bytes of the header itself.
    bytes: u64,
    uncompressed: i64,
    compressed: i64,
    values: i64,
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
        is_dictionary: number(1) == Some(DICTIONARY_PAGE),
        bytes: reader.used() as u64,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
    use bytes::Bytes;
    use parquet::{
        arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
        basic::{Compression, Encoding},
        file::properties::{EnabledStatistics, WriterProperties, WriterVersion},
    };

    use super::*;

    fn file(properties: WriterProperties) -> Vec<u8> {
        let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values((0..5000).map(|number| number % 700)));
        let long = "a text whose statistics do not fit into the bytes that are read at first ".repeat(20);
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..5000).map(|number| format!("{long}{}", number % 9)),
        ));
        let batch = RecordBatch::try_from_iter([("numbers", numbers), ("texts", texts)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn check(bytes: &[u8]) -> Result<(), ParquetError> {
        let file = Bytes::copy_from_slice(bytes);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone())?;
        check_page_index(&file, builder.metadata())?;
        check_pages(&file, builder.metadata(), |_, _| true)
    }

    #[test]
    fn files_of_every_kind_of_page_hold() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for statistics in [EnabledStatistics::None, EnabledStatistics::Page] {
                let properties = WriterProperties::builder()
                    .set_writer_version(version)
                    .set_statistics_enabled(statistics)
                    .set_compression(Compression::SNAPPY)
                    .set_data_page_row_count_limit(1000)
                    .set_write_page_header_statistics(true);
                check(&file(properties.clone().build())).unwrap();
                check(&file(properties.set_dictionary_enabled(false).build())).unwrap();
            }
        }
    }

    #[test]
    fn a_page_has_no_more_bytes_than_the_reader_allows_and_dictionaries_are_measured() {
        let largest = |properties: WriterProperties, most_bytes| {
            let file = Bytes::from(file(properties));
            let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
            check_pages_within(&file, builder.metadata(), most_bytes, |_, _| true)
                .map_err(|error| Claim::behind(&error).cloned())
        };
        let plain = || WriterProperties::builder().set_dictionary_enabled(false);
        // Nine texts of 1,461 bytes, each with its length.
        let dictionary = largest(WriterProperties::builder().build(), u64::MAX).unwrap();
        assert_eq!(dictionary, 9 * (4 + 73 * 20 + 1));
        assert_eq!(largest(plain().build(), u64::MAX), Ok(0));
        let continued = plain()
            .set_column_encoding("texts".into(), Encoding::DELTA_BYTE_ARRAY)
            .build();
        assert!(largest(continued, u64::MAX).unwrap() > 0);
        let refused = largest(plain().build(), 1000).unwrap_err();
        assert!(
            matches!(
                &refused,
                Some(Claim::LargePage {
                    bytes: 1001..,
                    most_bytes: 1000,
                    ..
                })
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn a_page_that_claims_more_than_its_file_can_hold_is_refused_by_column() {
        let sound = file(WriterProperties::builder().set_dictionary_enabled(false).build());
        // The first page: 0x15 kind, 0x15 uncompressed, 0x15 compressed, 0x2c 0x15 values. Rewritten with numbers that take
        // as many bytes.
        assert_eq!((&sound[4..6], sound[6]), (&[0x15, 0][..], 0x15));
        let end = |at: usize| at + 1 + sound[at..].iter().position(|byte| *byte < 0x80).unwrap();
        let (uncompressed, compressed) = (7..end(7), end(7) + 1..end(end(7) + 1));
        // An odd number stands for a negative one.
        let claims = |place: Range<usize>, lowest: u8| {
            let mut bytes = sound.clone();
            bytes[place.start..place.end - 1].fill(0xff);
            bytes[place.start] = lowest;
            bytes[place.end - 1] = 0x7e;
            check(&bytes).map_err(|error| error.to_string())
        };
        check(&sound).unwrap();
        assert!(
            claims(compressed, 0xff)
                .unwrap_err()
                .contains("column 0 of row group 0 extends past the end of the file")
        );
        // Three bytes cannot hold a number above the bound, so a header made by hand tests the bound.
        assert_eq!(claims(uncompressed.clone(), 0xfe), Ok(()));
        assert!(
            claims(uncompressed, 0xff)
                .unwrap_err()
                .contains("a page of column 0 of row group 0 claims -")
        );
        let header = parsed(&[
            0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 2, 0x2c, 0x15, 8, 0, 0,
        ])
        .unwrap();
        assert_eq!(
            (header.uncompressed, header.compressed, header.values),
            (i64::from(i32::MAX), 1, 4)
        );
        assert_eq!(header.bytes, 15);
    }
}
