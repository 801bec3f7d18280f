//! What the pages of a Parquet file claim, compared with what the file can hold.

use std::ops::Range;

use parquet::{
    errors::ParquetError,
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData},
        reader::ChunkReader,
    },
};

use crate::thrift::{Reader, Value};

/// Bytes that a page may claim whatever the size of its file, and for each byte of the file. Pages are a megabyte as a rule;
/// a file that is one page of a single row can be much more, but is then large itself.
const PAGE_BYTES: u64 = 16 << 20;
const PAGE_BYTES_A_BYTE: u64 = 8;
/// Values that a page may claim whatever the size of its file, and for each byte of the file: runs of one value take next
/// to nothing.
const VALUES: u64 = 1 << 22;
const VALUES_A_BYTE: u64 = 16;
/// Bytes of a page's header that are read at first; nearly all are shorter.
const HEADER_BYTES: u64 = 256;

/// A claim that a file cannot meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(String);

impl From<Claim> for ParquetError {
    fn from(claim: Claim) -> Self {
        Self::General(claim.0)
    }
}

/// Makes sure that the pages of some columns lie in the file and claim no more than it can hold.
///
/// `metadata` is the file's; `wanted` is asked for each row group and leaf of the schema, by their indices. Reads the headers
/// of the pages and nothing else. It holds for whoever then reads the pages one after the other, which is what the library
/// does where it was given no page index.
///
/// # Errors
///
/// The first claim that does not hold, or what keeps the file from being read.
pub fn check_pages(
    file: &impl ChunkReader,
    metadata: &ParquetMetaData,
    wanted: impl Fn(usize, usize) -> bool,
) -> Result<(), ParquetError> {
    for (group, column, chunk) in chunks(metadata).filter(|(group, column, _)| wanted(*group, *column)) {
        check_column(file, chunk, &|| format!("column {column} of row group {group}"))?;
    }
    Ok(())
}

/// Makes sure that the lists of the page index are no longer than their bytes, before the index is read.
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
                return Err(Claim(format!("{} is longer than its bytes", place())).into());
            }
        }
    }
    Ok(())
}

/// Row group, column and chunk, all there are.
fn chunks(metadata: &ParquetMetaData) -> impl Iterator<Item = (usize, usize, &ColumnChunkMetaData)> {
    metadata.row_groups().iter().enumerate().flat_map(|(group, row_group)| {
        let chunks = row_group.columns().iter().enumerate();
        chunks.map(move |(column, chunk)| (group, column, chunk))
    })
}

/// The bytes of the file from `start` on, or `None` where it does not have so many.
fn inside(file: &impl ChunkReader, start: i64, bytes: i64) -> Option<Range<u64>> {
    let (start, bytes) = (u64::try_from(start).ok()?, u64::try_from(bytes).ok()?);
    let end = start.checked_add(bytes)?;
    (end <= file.len()).then_some(start..end)
}

fn beyond(place: &str) -> Claim {
    Claim(format!("{place} lies beyond the file"))
}

fn check_column(
    file: &impl ChunkReader,
    chunk: &ColumnChunkMetaData,
    place: &dyn Fn() -> String,
) -> Result<(), ParquetError> {
    let beyond = || beyond(&place());
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let all = inside(file, start, chunk.compressed_size()).ok_or_else(beyond)?;
    let mut at = all.start;
    while at < all.end {
        let header =
            page_header(file, at..all.end)?.ok_or_else(|| Claim(format!("{} has a page without header", place())))?;
        at += header.bytes;
        let bytes = u64::try_from(header.compressed)
            .ok()
            .filter(|&bytes| bytes <= all.end - at)
            .ok_or_else(beyond)?;
        at += bytes;
        let file_bytes = file.len();
        let claims = [
            (
                "bytes",
                header.uncompressed,
                PAGE_BYTES + PAGE_BYTES_A_BYTE * file_bytes,
            ),
            ("values", header.values, VALUES + VALUES_A_BYTE * file_bytes),
        ];
        for (what, claimed, most) in claims {
            if !u64::try_from(claimed).is_ok_and(|claimed| claimed <= most) {
                let claim = format!(
                    "a page of {} claims {claimed} {what} in a file of {file_bytes} bytes",
                    place()
                );
                return Err(Claim(claim).into());
            }
        }
    }
    Ok(())
}

/// The numbers at the head of a page.
struct PageHeader {
    /// Bytes of the header itself.
    bytes: u64,
    uncompressed: i64,
    compressed: i64,
    values: i64,
}

/// The header at the start of `range`, or `None` where there is none in it.
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
    // Kinds of pages have headers of their own, all of which begin with the number of values.
    let values = fields.iter().filter_map(|(at, value)| match value {
        Value::Struct(inner) if (5..=8).contains(at) => inner.iter().find(|(field, _)| *field == 1),
        _ => None,
    });
    Some(PageHeader {
        uncompressed: number(2)?,
        compressed: number(3)?,
        values: values.map(|(_, number)| *number).max().unwrap_or(0),
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
        basic::Compression,
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
                .contains("column 0 of row group 0 lies beyond the file")
        );
        // Three bytes hold no number that is too large, so the bound itself is tried on a header by hand.
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
