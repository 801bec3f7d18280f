//! Tables written by the tests, whole and damaged.

mod large;
mod values;

use std::fs;

use arrow::{
    array::{ArrayRef, Date32Array, Float32Array, ListBuilder, StringArray, StringBuilder, StructArray},
    datatypes::{DataType, Field},
    ipc::writer::StreamWriter,
};
use leadspan_diagnosis::Diagnosis as _;
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    RowRules,
    rows::{RawRow, RowReader},
};

/// Rows `from..to` of a table of texts, lists, structures and a column that cannot be read.
fn batch(from: u64, to: u64) -> RecordBatch {
    let numbers = || from..to;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for n in numbers() {
        lists.append_value((0..n % 3).map(|item| Some(format!("{n} é {item}"))));
    }
    let text: ArrayRef = Arc::new(StringArray::from_iter_values(numbers().map(|n| format!("row {n} 漢"))));
    let of_even = |n: u64| {
        n.is_multiple_of(2)
            .then(|| format!("{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    };
    let sometimes: ArrayRef = Arc::new(numbers().map(of_even).collect::<StringArray>());
    let inner = StructArray::from(vec![
        (Arc::new(Field::new("always", DataType::Utf8, true)), Arc::clone(&text)),
        (Arc::new(Field::new("sometimes", DataType::Utf8, true)), sometimes),
    ]);
    let floats: ArrayRef = Arc::new(Float32Array::from_iter_values(numbers().map(|n| n as f32 / 2.0)));
    let dates: ArrayRef = Arc::new(Date32Array::from_iter_values(numbers().map(|n| n as i32)));
    RecordBatch::try_from_iter([
        ("text", text),
        ("lists", Arc::new(lists.finish())),
        ("inner", Arc::new(inner)),
        ("half", floats),
        ("date", dates),
    ])
    .unwrap()
}

fn parquet(rows: u64, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(150))
        .set_data_page_row_count_limit(40)
        .set_write_batch_size(10)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch(0, 1).schema(), Some(properties)).unwrap();
    writer.write(&batch(0, rows)).unwrap();
    writer.close().unwrap();
    bytes
}

fn stream(rows: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch(0, 1).schema()).unwrap();
    for from in (0..rows).step_by(100) {
        writer.write(&batch(from, rows.min(from + 100))).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

const FIELDS: [&str; 5] = ["id", "text", "lists", "inner", "half"];

fn read(path: &Path, fields: &[&str]) -> Result<Vec<(u64, Value)>, CorpusError> {
    let fields = fields.iter().map(|&field| field.to_owned()).collect();
    read_within(path, fields, RowLimit::default())
}

fn read_within(path: &Path, fields: Vec<String>, limit: RowLimit) -> Result<Vec<(u64, Value)>, CorpusError> {
    let mut rows = RowReader::new(vec![path.to_owned()], fields, limit);
    let mut all = Vec::new();
    while let Some(RawRow { number, content, .. }) = rows.next_row()? {
        let value = match content.fields(RowRules::CURRENT) {
            Ok(fields) => fields.into(),
            Err(problem) => problem.to_string().into(),
        };
        all.push((number, value));
    }
    assert_eq!(rows.bytes_read(), fs::metadata(path).unwrap().len());
    Ok(all)
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[test]
fn rows_of_every_kind_of_table_are_the_same_and_numbered_from_one() {
    let place = Place::new();
    let expected = |n: u64| {
        let mut inner = json!({"always": format!("row {n} 漢")});
        if n.is_multiple_of(2) {
            inner["sometimes"] = format!("{}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into();
        }
        let lists: Vec<String> = (0..n % 3).map(|item| format!("{n} é {item}")).collect();
        json!({"text": format!("row {n} 漢"), "lists": lists, "inner": inner, "half": n as f32 / 2.0})
    };
    let expected: Vec<_> = (0..310).map(|n| (n + 1, expected(n))).collect();
    for (name, bytes) in [
        ("plain.parquet", parquet(310, Compression::UNCOMPRESSED)),
        ("snappy.PARQUET", parquet(310, Compression::SNAPPY)),
        ("lz4.parquet", parquet(310, Compression::LZ4_RAW)),
        (
            "zstd.parquet",
            parquet(310, Compression::ZSTD(parquet::basic::ZstdLevel::default())),
        ),
        (
            "gzip.parquet",
            parquet(310, Compression::GZIP(parquet::basic::GzipLevel::default())),
        ),
        ("stream.arrow", stream(310)),
    ] {
        let path = place.write(name, &bytes);
        assert_eq!(read(&path, &FIELDS).unwrap(), expected, "{name}");
        let texts = read(&path, &["text", "absent"]).unwrap();
        assert_eq!(texts[309], (310, json!({"text": "row 309 漢"})), "{name}");
    }
}

#[test]
fn a_column_of_an_unreadable_type_is_named_if_it_is_needed() {
    let place = Place::new();
    for path in [
        place.write("a.parquet", &parquet(3, Compression::SNAPPY)),
        place.write("a.arrow", &stream(3)),
    ] {
        let error = read(&path, &["date"]).unwrap_err();
        assert!(
            matches!(&error, CorpusError::UnreadableColumn { column, .. } if column == "date"),
            "{error}"
        );
        assert!(!error.is_unexpected() && error.hint().is_some());
    }
}

#[test]
fn a_table_without_rows_has_none_and_one_without_the_columns_has_empty_rows() {
    let place = Place::new();
    assert_eq!(
        read(&place.write("a.parquet", &parquet(0, Compression::SNAPPY)), &FIELDS).unwrap(),
        []
    );
    assert_eq!(read(&place.write("a.arrow", &stream(0)), &FIELDS).unwrap(), []);
    for path in [
        place.write("b.parquet", &parquet(2, Compression::SNAPPY)),
        place.write("b.arrow", &stream(2)),
    ] {
        let fields = vec!["absent".to_owned()];
        let mut rows = RowReader::new(vec![path], fields, RowLimit::default());
        assert_eq!(
            rows.next_row()
                .unwrap()
                .unwrap()
                .content
                .fields(RowRules::CURRENT)
                .unwrap(),
            crate::layout::Row::default()
        );
    }
}

#[test]
fn a_table_that_is_cut_anywhere_is_an_error_that_names_it() {
    let place = Place::new();
    for (name, whole) in [
        ("a.parquet", parquet(50, Compression::SNAPPY)),
        ("a.arrow", stream(250)),
    ] {
        for length in (0..whole.len()).step_by(37) {
            let path = place.write(name, &whole[..length]);
            let error = read(&path, &FIELDS).unwrap_err();
            assert!(
                matches!(&error, CorpusError::DamagedTable { path: at, .. } | CorpusError::NotAnArrowStream { path: at } if *at == path),
                "{length}: {error}"
            );
            assert!(!error.is_unexpected() && error.hint().is_some());
        }
    }
}

#[test]
fn something_else_under_the_name_of_a_table_is_an_error() {
    let place = Place::new();
    let (table, stream) = (parquet(5, Compression::SNAPPY), stream(5));
    for (name, bytes) in [
        ("a.parquet", b"{\"messages\": []}\n".as_slice()),
        ("b.parquet", &stream),
        ("a.arrow", &table),
        ("b.arrow", b"ARROW1\0\0"),
        ("c.arrow", &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
    ] {
        let error = read(&place.write(name, bytes), &FIELDS).unwrap_err();
        assert!(
            matches!(
                error,
                CorpusError::DamagedTable { row: 0, .. } | CorpusError::NotAnArrowStream { .. }
            ),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_table_that_may_be_whole_is_not_called_damaged() {
    let place = Place::new();
    let mut deep: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    for _ in 0..65 {
        let field = Field::new("s", deep.data_type().clone(), true);
        deep = Arc::new(StructArray::from(vec![(Arc::new(field), deep)]));
    }
    let batch = RecordBatch::try_from_iter([("text", deep)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let path = place.write("a.parquet", &writer.into_inner().unwrap());
    let error = read(&path, &["text"]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("cannot be read: it is a Parquet table whose schema has more than 64 levels"),
        "{error}"
    );
    assert!(!error.hint().unwrap().contains("again"));
}

#[test]
fn an_error_in_a_table_says_after_which_row() {
    let place = Place::new();
    let mut bytes = stream(310);
    // The lengths of the lists are somewhere in the last batch: all of it is changed but the end of the stream.
    let from = bytes.len() - 400;
    bytes[from..from + 300].fill(0xff);
    let error = read(&place.write("a.arrow", &bytes), &FIELDS).unwrap_err();
    assert!(matches!(error, CorpusError::DamagedTable { row: 300, .. }), "{error}");
    assert!(error.to_string().ends_with("after row 300"), "{error}");
}

#[test]
fn a_message_that_is_said_to_be_longer_than_its_stream_is_refused_before_room_is_made_for_it() {
    let place = Place::new();
    let sound = stream(10);
    // The length of the schema's metadata, and the length of the first batch's metadata after it.
    let schema_bytes = u32::from_le_bytes(sound[4..8].try_into().unwrap()) as usize;
    let batch = 8 + schema_bytes + 4;
    let body_at = (batch..sound.len() - 8)
        .find(|&at| {
            let length = u64::from_le_bytes(sound[at..at + 8].try_into().unwrap());
            let metadata = u32::from_le_bytes(sound[batch..batch + 4].try_into().unwrap()) as u64;
            length == (sound.len() - 8 - batch - 4) as u64 - metadata
        })
        .unwrap();
    for (at, claim) in [
        (4, &0x7fff_ffffu32.to_le_bytes()[..]),
        (batch, &0x7fff_ffffu32.to_le_bytes()),
        (body_at, &(1u64 << 40).to_le_bytes()),
        (body_at, &u64::MAX.to_le_bytes()),
    ] {
        let mut bytes = sound.clone();
        bytes[at..at + claim.len()].copy_from_slice(claim);
        let error = read(&place.write("a.arrow", &bytes), &FIELDS).unwrap_err();
        let CorpusError::DamagedTable { row: 0, source, .. } = &error else {
            panic!("{error}")
        };
        assert!(source.to_string().contains("ends beyond the file"), "{source}");
    }
}

#[test]
fn rows_that_a_file_cannot_hold_are_not_counted_one_by_one() {
    let place = Place::new();
    let nothing = RecordBatch::try_new_with_options(
        std::sync::Arc::new(Schema::empty()),
        Vec::new(),
        &arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(1 << 40)),
    )
    .unwrap();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &Schema::empty()).unwrap();
    writer.write(&nothing).unwrap();
    let bytes = writer.into_inner().unwrap();
    let error = read(&place.write("a.arrow", &bytes), &FIELDS).unwrap_err();
    assert!(
        matches!(&error, CorpusError::DamagedTable { source, .. } if source.to_string().contains("rows are claimed")),
        "{error}"
    );
}

#[test]
fn a_decoder_that_panics_is_an_error() {
    let (place, whole) = (Place::new(), stream(10));
    let gave_up = (0..whole.len()).filter(|&at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let result = read(&place.write("a.arrow", &bytes), &FIELDS);
        matches!(&result, Err(CorpusError::DamagedTable { source, .. }) if source.to_string().contains("panicked"))
    });
    // If this finds no panic any more, the guard is not needed.
    assert!(gave_up.count() > 0);
    assert!(!leadspan_files::panics_become_errors());
}

/// Flips bytes of `whole` and reads it: an error, or as many rows as there were.
fn damage_never_panics(place: &Place, name: &str, whole: &[u8], rows: usize, flips: &[(prop::sample::Index, u8)]) {
    let mut bytes = whole.to_vec();
    for (at, flip) in flips {
        bytes[at.index(whole.len())] ^= flip;
    }
    match read(&place.write(name, &bytes), &FIELDS) {
        // Nothing shows that a stream lost a batch or a batch lost a row.
        Ok(read) => assert!(
            name.ends_with(".arrow") || read.len() == rows,
            "{} of {rows} rows",
            read.len()
        ),
        Err(error) => assert!(!error.is_unexpected(), "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flipped_bytes_of_a_table_are_an_error_or_rows(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4), kind in 0..3usize,
    ) {
        thread_local! {
            static PLACE: (Place, [(&'static str, Vec<u8>); 3]) = (Place::new(), [
                ("plain.parquet", parquet(60, Compression::UNCOMPRESSED)),
                ("snappy.parquet", parquet(60, Compression::SNAPPY)),
                ("stream.arrow", stream(150)),
            ]);
        }
        PLACE.with(|(place, wholes)| {
            let (name, whole) = &wholes[kind];
            damage_never_panics(place, name, whole, 60, &flips);
        });
    }
}
