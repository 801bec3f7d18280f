//! Rows and pages of many bytes.

use arrow::array::{BooleanBuilder, Int64Array};
use parquet::{basic::Encoding, file::properties::WriterVersion};

use super::*;

fn written(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn limit(most_bytes: u64, on_bad_row: BadRow) -> RowLimit {
    RowLimit { most_bytes, on_bad_row }
}

fn fields(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_row_that_may_be_as_long_as_its_page_is_read_whatever_the_size_of_its_file() {
    let place = Place::new();
    // Twenty mebibytes of one letter, of which little is left in the file.
    let long: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(20 << 20)]));
    let batch = RecordBatch::try_from_iter([("text", long)]).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .build();
    let path = place.write("a.parquet", &written(&batch, properties));
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
    let rows = read(&path, &["text"]).unwrap();
    assert_eq!(rows[0].1["text"].as_str().unwrap().len(), 20 << 20);
    let error = read_within(&path, fields(&["text"]), limit(1 << 20, BadRow::Stop)).unwrap_err();
    let expected = format!(
        "rows 1 to 1 of `{}` are too long to be read together: column 0 of row group 0 has a page of 20971524 bytes, and at \
         most 16777216 are read",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().unwrap().contains("raise `data.max_row_mib`"));
    let skipped = read_within(&path, fields(&["text"]), limit(1 << 20, BadRow::Skip)).unwrap();
    let problem = "the row lies in a page of 20971524 bytes, and at most 16777216 are read";
    assert_eq!(skipped, [(1, problem.into())]);
}

/// Rows whose text has 100 bytes, but some have 3,000, in pages of ten rows and groups of fifty.
fn table_with_long_rows(is_long: impl Fn(usize) -> bool, version: WriterVersion) -> Vec<u8> {
    let texts = (0..150).map(|row| "a".repeat(if is_long(row) { 3000 } else { 100 }));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..150 {
        lists.append_value([Some(row.to_string())]);
    }
    let batch = RecordBatch::try_from_iter([
        ("text", Arc::new(StringArray::from_iter_values(texts)) as ArrayRef),
        ("n", Arc::new(Int64Array::from_iter_values(0..150))),
        ("list", Arc::new(lists.finish())),
    ]);
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .set_writer_version(version)
        .set_max_row_group_row_count(Some(50))
        .set_data_page_row_count_limit(10)
        .set_write_batch_size(10);
    written(&batch.unwrap(), properties.build())
}

#[test]
fn the_rows_of_a_page_that_is_too_large_are_skipped_and_all_others_are_read() {
    let place = Place::new();
    // All pages have 1 kB, but those of rows 31 to 40, 51 to 60 and 141 to 150, and all of the last group.
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let is_long = |row: usize| (30..40).contains(&row) || (50..60).contains(&row) || row >= 100;
        let path = place.write("a.parquet", &table_with_long_rows(is_long, version));
        let names = fields(&["text", "n", "list"]);
        let rows = read_within(&path, names.clone(), limit(1500, BadRow::Skip)).unwrap();
        assert_eq!(rows.len(), 150);
        for (index, (number, row)) in rows.iter().enumerate() {
            assert_eq!(*number, index as u64 + 1);
            if is_long(index) {
                let problem = row.as_str().unwrap();
                assert!(
                    problem.starts_with("the row lies in a page of 30040 bytes"),
                    "{problem}"
                );
            } else {
                assert_eq!((&row["n"], &row["list"]), (&json!(index), &json!([index.to_string()])));
            }
        }
        let error = read_within(&path, names, limit(1500, BadRow::Stop)).unwrap_err();
        assert!(
            matches!(
                &error,
                CorpusError::LargePage {
                    first: 31,
                    last: 40,
                    ..
                }
            ),
            "{error}"
        );
        // The column is not needed.
        assert_eq!(
            read_within(&path, fields(&["n"]), limit(1500, BadRow::Stop))
                .unwrap()
                .len(),
            150
        );
    }
}

#[test]
fn nested_values_count_for_their_own_row_and_for_what_they_take() {
    let place = Place::new();
    let names = || fields(&["lists"]);
    // Each row has a list of 200 booleans, which are stored in 25 bytes; the third has 2,000.
    let mut lists = ListBuilder::new(BooleanBuilder::new());
    for row in 0..40 {
        lists.append_value((0..if row == 2 { 2000 } else { 200 }).map(|_| Some(true)));
    }
    let batch = RecordBatch::try_from_iter([("lists", Arc::new(lists.finish()) as ArrayRef)]).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    for path in [
        place.write("a.parquet", &written(&batch, WriterProperties::default())),
        place.write("a.arrow", &stream.into_inner().unwrap()),
    ] {
        let error = read_within(&path, names(), limit(2000 * 16 - 1, BadRow::Stop)).unwrap_err();
        assert!(matches!(&error, CorpusError::LongRow { row: 3, .. }), "{error}");
        assert_eq!(
            read_within(&path, names(), limit(2000 * 16, BadRow::Stop))
                .unwrap()
                .len(),
            40
        );
        // The rows beside it are not too long because they are decoded together.
        let skipped = read_within(&path, names(), limit(200 * 16, BadRow::Skip)).unwrap();
        let too_long: Vec<_> = skipped.iter().filter(|(_, row)| row.is_string()).collect();
        assert_eq!(too_long, [&(3, json!("the row has more than 3200 bytes"))]);
    }
}
