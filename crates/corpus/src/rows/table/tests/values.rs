//! Values as they are written, and how large they may be.

use arrow::array::{DictionaryArray, Int8Array};

use super::*;

/// A Parquet table of one column.
fn one_column(name: &str, column: ArrayRef, properties: Option<WriterProperties>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([(name, column)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), properties).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn numbers_of_a_table_are_written_as_they_were_meant() {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array};

    use crate::sample_maker::id_of;

    let place = Place::new();
    let decimals = |values: Vec<i128>, scale| {
        Decimal128Array::from(values)
            .with_precision_and_scale(38, scale)
            .unwrap()
    };
    let columns: [(ArrayRef, &[&str]); 5] = [
        (
            Arc::new(Float32Array::from(vec![0.1, 16_777_216.0, 1e-7, 3.4e38])),
            &["0.1", "16777216.0", "1e-7", "3.4e+38"],
        ),
        (Arc::new(Float64Array::from(vec![0.1, 1e300])), &["0.1", "1e+300"]),
        (
            Arc::new(decimals(vec![110, -5, 12_345_678_901_234_567_890_123], 2)),
            &["1.10", "-0.05", "123456789012345678901.23"],
        ),
        (
            Arc::new(decimals(
                vec![18_446_744_073_709_551_616, 18_446_744_073_709_551_617],
                0,
            )),
            &["18446744073709551616", "18446744073709551617"],
        ),
        (
            Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])),
            &["-9223372036854775808", "9223372036854775807"],
        ),
    ];
    for (column, expected) in columns {
        let path = place.write("a.parquet", &one_column("id", column, None));
        let mut rows = RowReader::new(vec![path], vec!["id".to_owned()], RowLimit::default());
        for expected in expected {
            let row = rows.next_row().unwrap().unwrap().content;
            let id = id_of(&mut row.fields(RowRules::CURRENT).unwrap()).unwrap().unwrap();
            assert_eq!(id, *expected);
        }
    }
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![f32::NAN, f32::NEG_INFINITY]));
    let path = place.write("a.parquet", &one_column("x", floats, None));
    let expected = [(1, json!({"x": null})), (2, json!("the field `x` is infinite"))];
    assert_eq!(read(&path, &["x"]).unwrap(), expected);
    // As corpora of older rules were prepared.
    let tenth: ArrayRef = Arc::new(Float32Array::from(vec![0.1]));
    let path = place.write("a.parquet", &one_column("x", tenth, None));
    let mut rows = RowReader::new(vec![path], vec!["x".to_owned()], RowLimit::default());
    let old = rows
        .next_row()
        .unwrap()
        .unwrap()
        .content
        .fields(RowRules::First)
        .unwrap();
    assert_eq!(Value::from(old), json!({"x": 0.100_000_001_490_116_12}));
}

#[test]
fn compressions_that_cannot_be_undone_are_named() {
    let place = Place::new();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"; 100]));
    let mut bytes = one_column(
        "text",
        text,
        Some(WriterProperties::builder().set_compression(Compression::SNAPPY).build()),
    );
    // The column's codec is field 4 of its metadata: after the list of paths, which ends with the name.
    let codec = bytes
        .windows(7)
        .rposition(|bytes| bytes == b"\x04text\x15\x02")
        .unwrap()
        + 6;
    bytes[codec] = 2 * 4;
    let error = read(&place.write("a.parquet", &bytes), &["text"]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("cannot be read: it is a Parquet table whose columns are compressed with brotli"),
        "{error}"
    );
    assert!(!error.is_unexpected() && error.hint().unwrap().contains("snappy"));
    // The columns that are not read may be compressed in any way.
    assert!(read(&place.write("a.parquet", &bytes), &["absent"]).is_ok());
}

#[test]
fn a_value_that_a_small_file_repeats_does_not_fill_the_memory() {
    let place = Place::new();
    // A dictionary of one text of 4 MiB, which forty rows repeat.
    let large: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(4 << 20)]));
    let column: ArrayRef = Arc::new(DictionaryArray::new(Int8Array::from(vec![0; 40]), large));
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(64 << 20)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
        .build();
    let bytes = one_column("text", Arc::clone(&column), Some(properties));
    assert!(bytes.len() < 1 << 16, "{}", bytes.len());
    let path = place.write("a.parquet", &bytes);
    let mut rows = RowReader::new(vec![path.clone()], vec!["text".to_owned()], RowLimit::default());
    let RowContent::Record { batch, .. } = rows.next_row().unwrap().unwrap().content else {
        panic!("no record")
    };
    assert_eq!(batch.num_rows(), 15, "at most 64 MiB");

    // Rows that are too long are refused by their number, or left out.
    let limit = |on_bad_row| RowLimit {
        most_bytes: 1 << 20,
        on_bad_row,
    };
    let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    let stream = place.write("a.arrow", &stream.into_inner().unwrap());
    for path in [path, stream] {
        let error = read_within(&path, vec!["text".to_owned()], limit(BadRow::Stop)).unwrap_err();
        assert!(matches!(error, CorpusError::LongRow { row: 1, .. }), "{error}");
        let skipped = read_within(&path, vec!["text".to_owned()], limit(BadRow::Skip)).unwrap();
        assert_eq!(
            (skipped.len(), &skipped[39].1),
            (40, &json!("the row has more than 1048576 bytes"))
        );
    }
}

#[test]
fn texts_of_more_than_2_gib_cannot_be_asked_for_by_a_type_of_the_schema() {
    let place = Place::new();
    let wide: ArrayRef = Arc::new(arrow::array::LargeStringArray::from(vec!["漢", "b"]));
    let path = place.write("a.parquet", &one_column("text", wide, None));
    assert_eq!(
        read(&path, &["text"]).unwrap(),
        [(1, json!({"text": "漢"})), (2, json!({"text": "b"}))]
    );
    let mut rows = RowReader::new(vec![path], vec!["text".to_owned()], RowLimit::default());
    let RowContent::Record { batch, .. } = rows.next_row().unwrap().unwrap().content else {
        panic!("no record")
    };
    assert_eq!(batch.schema().field(0).data_type(), &DataType::Utf8);
}

#[test]
fn a_column_that_is_only_compared_may_be_of_an_unreadable_type() {
    let place = Place::new();
    let dates: ArrayRef = Arc::new(Date32Array::from(vec![1]));
    let path = place.write("a.parquet", &one_column("conversations", dates, None));
    assert_eq!(read(&path, &["messages", "conversations"]).unwrap(), [(1, json!({}))]);
    assert!(read(&path, &["conversations"]).is_err());
}
