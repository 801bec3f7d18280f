//! Pages that the tests write, and headers made by hand.

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

/// The pages of a file that are read with rows of so many bytes.
fn read_with(file: &Bytes, row_bytes: u64) -> PageSizes {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    page_sizes(file, builder.metadata(), row_bytes, |_, _| true).unwrap()
}

#[test]
fn dictionaries_and_pages_whose_values_continue_others_are_measured() {
    let repeated = |properties| {
        let sizes = read_with(&file(properties).into(), 1 << 30);
        assert_eq!(sizes.large, []);
        sizes.repeated
    };
    let plain = || WriterProperties::builder().set_dictionary_enabled(false);
    // Nine texts of 1,461 bytes, each with its length.
    assert_eq!(repeated(WriterProperties::builder().build()), 9 * (4 + 73 * 20 + 1));
    assert_eq!(repeated(plain().build()), 0);
    let continued = plain().set_column_encoding("texts".into(), Encoding::DELTA_BYTE_ARRAY);
    assert!(repeated(continued.build()) > 0);
}

#[test]
fn a_page_of_too_many_bytes_is_returned_with_its_rows() {
    let pages = |version, row_bytes| {
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::PLAIN)
            .set_writer_version(version)
            .set_write_batch_size(500)
            .set_data_page_row_count_limit(1000)
            .set_max_row_group_row_count(Some(3000));
        read_with(&file(properties.build()).into(), row_bytes)
    };
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        // A thousand texts of 1,461 bytes, and numbers of four bytes.
        assert_eq!(pages(version, 100_000).large, []);
        let large = pages(version, 90_000).large;
        let found: Vec<_> = large.iter().map(|page| (page.group, page.rows.clone())).collect();
        let expected = [
            (0, 0..1000),
            (0, 1000..2000),
            (0, 2000..3000),
            (1, 0..1000),
            (1, 1000..2000),
        ];
        assert_eq!(found, expected);
        assert!(
            large
                .iter()
                .all(|page| page.most_bytes == 16 * 90_000 && page.bytes > 1_461_000)
        );
        assert_eq!(large[0].place, "column 1 of row group 0");
    }
    // A dictionary, of which each row may need a value.
    let large = read_with(&file(WriterProperties::builder().build()).into(), 500).large;
    assert_eq!((large[0].rows.clone(), large[0].bytes), (0..5000, 9 * 1465));
}

#[test]
fn the_rows_of_a_page_of_lists_are_known_from_its_header_or_are_all() {
    let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for _ in 0..20 {
        lists.append_value((0..3).map(|_| Some("a".repeat(100))));
    }
    // A page ends behind a batch of about ten texts.
    let batch = RecordBatch::try_from_iter([("lists", Arc::new(lists.finish()) as ArrayRef)]).unwrap();
    for (version, second) in [
        (WriterVersion::PARQUET_1_0, 0..20),
        (WriterVersion::PARQUET_2_0, 12..20),
    ] {
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::PLAIN)
            .set_writer_version(version)
            .set_write_batch_size(10)
            .set_data_page_row_count_limit(10);
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        let large = read_with(&writer.into_inner().unwrap().into(), 100).large;
        assert_eq!(large.last().unwrap().rows, second);
    }
}

#[test]
fn a_page_of_one_row_may_be_larger_than_its_file_suggests() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(20 << 20)]));
    let batch = RecordBatch::try_from_iter([("text", text)]).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    let file: Bytes = writer.into_inner().unwrap().into();
    assert_eq!(read_with(&file, 64 << 20).large, []);
    assert_eq!(read_with(&file, 1 << 20).large.last().unwrap().rows, 0..1);
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
