//! Files of lines and of arrays, plain, compressed and damaged.

use std::{fs, io::Write};

use leadspan_diagnosis::Diagnosis as _;

use super::*;
use crate::rows::{RawRow, RowReader};

fn read(paths: &[&Path]) -> Result<Vec<(usize, u64, String)>, CorpusError> {
    read_within(paths, RowLimit::default())
}

fn read_within(paths: &[&Path], limit: RowLimit) -> Result<Vec<(usize, u64, String)>, CorpusError> {
    let mut lines = RowReader::new(paths.iter().map(|&path| path.to_owned()).collect(), Vec::new(), limit);
    let mut all = Vec::new();
    while let Some(RawRow { file, number, content }) = lines.next_row()? {
        let text = match content {
            RowContent::Line(bytes) => String::from_utf8(bytes).unwrap(),
            content => content.fields(RowRules::CURRENT).unwrap_err().to_string(),
        };
        all.push((file, number, text));
    }
    let on_disk: u64 = paths.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(lines.bytes_read(), on_disk);
    Ok(all)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lines_are_numbered_with_blank_ones_counted_but_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a.jsonl"), directory.path().join("b.jsonl"));
    fs::write(&a, "\u{feff}one\r\n\n  \t\ntwo").unwrap();
    fs::write(&b, "three\n\n").unwrap();
    let expected = [
        (0, 1, "one".to_owned()),
        (0, 4, "two".to_owned()),
        (1, 1, "three".to_owned()),
    ];
    assert_eq!(read(&[&a, &b]).unwrap(), expected);
}

#[test]
fn compressed_files_read_like_plain_ones_also_in_several_members() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (b"one\ntw".as_slice(), b"o\nthree\n".as_slice());
    let plain = directory.path().join("a.jsonl");
    fs::write(&plain, [first, second].concat()).unwrap();
    let gz = directory.path().join("a.jsonl.gz");
    fs::write(&gz, [gzip(first), gzip(second)].concat()).unwrap();
    let zst = directory.path().join("a.jsonl.ZST");
    let zstd = |text| zstd::encode_all(text, 3).unwrap();
    fs::write(&zst, [zstd(first), zstd(second)].concat()).unwrap();
    let expected = read(&[&plain]).unwrap();
    assert_eq!(expected.len(), 3);
    assert_eq!(read(&[&gz]).unwrap(), expected);
    assert_eq!(read(&[&zst]).unwrap(), expected);
}

/// At most so many bytes.
fn at_most(most_bytes: u64, on_bad_row: BadRow) -> RowLimit {
    RowLimit { most_bytes, on_bad_row }
}

#[test]
fn a_row_of_too_many_bytes_is_an_error_that_names_it_or_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{}\n{}\nlast\n", "a".repeat(999), "b".repeat(100_000));
    let array = format!("[{}, [{}],\nlast]", "a".repeat(997), "b".repeat(100_000));
    for (name, stored) in [
        ("a.jsonl", text.clone().into_bytes()),
        ("a.gz", gzip(text.as_bytes())),
        ("a.zst", zstd::encode_all(text.as_bytes(), 3).unwrap()),
        ("a.json", array.clone().into_bytes()),
        ("b.zst", zstd::encode_all(array.as_bytes(), 3).unwrap()),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, stored).unwrap();
        let error = read_within(&[&path], at_most(1000, BadRow::Stop)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("row 2 of `{}` has more than 1000 bytes", path.display())
        );
        assert!(!error.is_unexpected() && error.hint().unwrap().contains("data.max_row_mib"));
        let read = read_within(&[&path], at_most(1000, BadRow::Skip)).unwrap();
        assert_eq!(read[1], (0, 2, "the row has more than 1000 bytes".into()), "{name}");
        assert_eq!(read[2], (0, 3, "last".into()), "{name}");
        assert_eq!(
            read_within(&[&path], at_most(100_002, BadRow::Stop)).unwrap().len(),
            3,
            "{name}"
        );
    }
}

#[test]
fn values_inside_a_row_count_for_more_bytes_than_they_are_stored_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    // 101 values with the list and the object; commas in a text are none.
    let text = format!(
        "{{\"a\": [{}1]}}\n{{\"a\": \"{}\"}}\n",
        "1,".repeat(99),
        "\\\",".repeat(99)
    );
    fs::write(&path, text).unwrap();
    let read = |most_bytes, on_bad_row| read_within(&[&path], at_most(most_bytes, on_bad_row));
    assert_eq!(read(101 * 16, BadRow::Stop).unwrap().len(), 2);
    let error = read(101 * 16 - 1, BadRow::Stop).unwrap_err();
    assert!(matches!(error, CorpusError::LongRow { row: 1, .. }), "{error}");
    assert!(error.hint().unwrap().contains("counts for 16 bytes"));
    let skipped = read(101 * 16 - 1, BadRow::Skip).unwrap();
    assert_eq!(skipped[0].2, "the row has more than 1615 bytes");
    assert!(skipped[1].2.starts_with("{\"a\""));
}

#[test]
fn a_number_larger_than_any_float_counts_for_its_field_alone() {
    let text = r#"{"id": 1e400, "n": -1E+999, "a": ["1e400", {"x": 1e309}], "b": [1e308], "c": 1.5}"#;
    let row = parse(text.as_bytes(), RowRules::CURRENT).unwrap();
    let written = |name: &str| match row.get(name) {
        Some(Value::Number(number)) => row.written(name, number).into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!([written("id"), written("n"), written("c")], ["1e400", "-1E+999", "1.5"]);
    assert!(row.check_integers("b").is_ok() && row.check_integers("id").is_ok());
    assert_eq!(
        row.check_integers("a").unwrap_err().to_string(),
        "the field `a` holds the number 1e309, which is larger than any float of 64 bits"
    );
    // Another error is told with its place.
    let broken = parse(br#"{"a": 1e400, "b": x}"#, RowRules::CURRENT).unwrap_err();
    assert_eq!(
        broken.to_string(),
        "the line is not valid JSON: expected value at column 19"
    );
    let first = parse(text.as_bytes(), RowRules::First).unwrap_err().to_string();
    assert!(first.contains("number out of range"), "{first}");
}

#[test]
fn a_row_that_decompresses_to_more_than_fits_is_refused_in_bounded_memory() {
    // 300 MB of one letter, in some 30 KB.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.zst");
    let letters = std::io::repeat(b'a').take(300 << 20);
    zstd::stream::copy_encode(letters, fs::File::create(&path).unwrap(), 1).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
    let error = JsonRows::open(&path, RowLimit::default()).unwrap().next().unwrap_err();
    assert!(matches!(error, CorpusError::LongRow { row: 1, .. }), "{error}");
}

#[test]
fn the_elements_of_an_array_are_rows_in_whatever_way_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let rows = [r#"{"a": "],[{\"\\"}"#, r#"{"b": [1, {"c": []}]}"#, "{}"];
    for (name, text) in [
        ("lines.json", format!("[\n{},\n{},\n{}\n]\n", rows[0], rows[1], rows[2])),
        ("dense.json", format!("[{},{},{}]", rows[0], rows[1], rows[2])),
        (
            "indented.jsonl",
            format!("\u{feff} \n [ {} ,\n{} , {}\t]", rows[0], rows[1], rows[2]),
        ),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, &text).unwrap();
        let expected: Vec<_> = (1..=3).map(|n| (0, n, rows[n as usize - 1].to_owned())).collect();
        assert_eq!(read(&[&path]).unwrap(), expected, "{name}");
        let zst = directory.path().join("a.json.zst");
        fs::write(&zst, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
        assert_eq!(read(&[&zst]).unwrap(), expected, "{name}");
    }
    let path = directory.path().join("a.json");
    for (text, expected) in [
        ("[]", Some(0)),
        (" [\n] \n", Some(0)),
        ("[1] 2", None),
        ("[1", None),
        ("[1, {\"]\"", None),
    ] {
        fs::write(&path, text).unwrap();
        match (read(&[&path]), expected) {
            (Ok(rows), Some(count)) => assert_eq!(rows.len(), count, "{text}"),
            (Err(error), None) => assert!(
                matches!(error, CorpusError::Read { .. }) && !error.is_unexpected(),
                "{error}"
            ),
            (result, _) => panic!("{text}: {result:?}"),
        }
    }
    // A missing element is a row that is not valid JSON, and what follows the last comma is none.
    fs::write(&path, "[1,,2,]").unwrap();
    assert_eq!(
        read(&[&path])
            .unwrap()
            .iter()
            .filter(|(.., text)| text.is_empty())
            .count(),
        1
    );
    fs::write(&path, "[1,2 ,\n]").unwrap();
    assert_eq!(read(&[&path]).unwrap().len(), 2);
}

#[test]
fn a_damaged_compressed_file_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let text: Vec<u8> = (0..20_000u32)
        .flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    for (name, whole) in [
        ("a.gz", gzip(&text)),
        ("a.zst", zstd::encode_all(text.as_slice(), 3).unwrap()),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = read(&[&path]).unwrap_err();
        assert!(
            matches!(&error, CorpusError::Read { path: at, .. } if *at == path),
            "{error}"
        );
        assert!(!error.is_unexpected(), "{error:?}");
    }
}
