//! Lines of plain and compressed files, and their fields if they are JSON objects.

use std::{
    io::{BufRead, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;

use super::{
    RowContent,
    input::open_text,
    json_array::{Elements, TextRow},
};
use crate::{BadRow, CorpusError, RowProblem, bad_row::RowLimit, error::open_error, layout::Row, row_problem::kind_of};

/// The rows of a file of JSON: one a line, or the elements of one array.
pub(super) struct JsonRows {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// The elements of the array, if the file begins with one.
    elements: Option<Elements>,
    /// The last line or element that was read.
    row: u64,
    limit: RowLimit,
    bytes_read: Arc<AtomicU64>,
}

impl JsonRows {
    pub(super) fn open(path: &Path, limit: RowLimit) -> Result<Self, CorpusError> {
        let bytes_read = Arc::default();
        let mut reader = open_text(path, &bytes_read)?;
        let failed = |source| CorpusError::Read {
            path: path.to_owned(),
            line: 0,
            source,
        };
        let start = reader.fill_buf().map_err(failed)?;
        let start = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start);
        let is_array = start.trim_ascii_start().first() == Some(&b'[');
        if is_array {
            // Up to and with the bracket.
            reader.skip_until(b'[').map_err(|source| open_error(path, source))?;
        }
        Ok(Self {
            path: path.to_owned(),
            reader,
            elements: is_array.then(Elements::default),
            row: 0,
            limit,
            bytes_read,
        })
    }

    /// Bytes read so far, counted on disk.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The next row, and its number: that of its line, in which blank lines count, or of its element; `None` after the last.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or decompressed, and a row of too many bytes, unless such rows are left out.
    pub(super) fn next(&mut self) -> Result<Option<(u64, RowContent)>, CorpusError> {
        loop {
            let stop = self.limit.on_bad_row == BadRow::Stop;
            let most_bytes = self.limit.most_bytes;
            let read = match &mut self.elements {
                Some(elements) => elements.next(&mut self.reader, most_bytes, stop),
                None => line(&mut self.reader, most_bytes, stop),
            };
            let read = read.map_err(|source| CorpusError::Read {
                path: self.path.clone(),
                line: self.row,
                source,
            })?;
            let Some(read) = read else { return Ok(None) };
            self.row += 1;
            let mut bytes = match read {
                TextRow::Row(bytes) => bytes,
                TextRow::TooLong if stop => {
                    return Err(CorpusError::LongRow {
                        path: self.path.clone(),
                        row: self.row,
                        most_bytes,
                    });
                }
                TextRow::TooLong => return Ok(Some((self.row, RowContent::TooLong { most_bytes }))),
            };
            if self.row == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            while bytes.last().is_some_and(u8::is_ascii_whitespace) {
                bytes.pop();
            }
            if self.elements.is_some() || !bytes.trim_ascii_start().is_empty() {
                return Ok(Some((self.row, RowContent::Line(bytes))));
            }
        }
    }
}

/// The next line. Unless `stop`, a line of too many bytes is read to its end.
fn line(reader: &mut dyn BufRead, most_bytes: u64, stop: bool) -> std::io::Result<Option<TextRow>> {
    let mut bytes = Vec::new();
    let read = (&mut *reader).take(most_bytes + 1).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    if read as u64 <= most_bytes {
        return Ok(Some(TextRow::Row(bytes)));
    }
    if !stop && bytes.last() != Some(&b'\n') {
        drop(bytes);
        reader.skip_until(b'\n')?;
    }
    Ok(Some(TextRow::TooLong))
}

/// The fields of a line.
pub(super) fn parse(bytes: &[u8]) -> Result<Row, RowProblem> {
    let text = std::str::from_utf8(bytes).map_err(|error| RowProblem::InvalidUtf8 {
        byte: error.valid_up_to(),
    })?;
    match serde_json::from_str(text).map_err(|error| invalid_json(&error))? {
        Value::Object(fields) => Ok(Row::of_json(fields, text)),
        other => Err(RowProblem::NotAnObject { found: kind_of(&other) }),
    }
}

/// The parser's message without its line number, which is always 1; the error of the row has the number of the line in
/// the file.
fn invalid_json(error: &serde_json::Error) -> RowProblem {
    let text = error.to_string();
    RowProblem::InvalidJson {
        reason: text.split(" at line ").next().unwrap_or(&text).to_owned(),
        column: error.column(),
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use leadspan_diagnosis::Diagnosis as _;

    use super::*;
    use crate::{
        RowRules,
        rows::{RawRow, RowReader},
    };

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
        // A missing element is a row that is not valid JSON.
        fs::write(&path, "[1,,2,]").unwrap();
        assert_eq!(
            read(&[&path])
                .unwrap()
                .iter()
                .filter(|(.., text)| text.is_empty())
                .count(),
            2
        );
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
            for damaged in [&whole[..whole.len() / 2], &b"not compressed"[..]] {
                fs::write(&path, damaged).unwrap();
                let error = read(&[&path]).unwrap_err();
                assert!(
                    matches!(&error, CorpusError::Read { path: at, .. } if *at == path),
                    "{error}"
                );
                assert!(!error.is_unexpected(), "{error:?}");
            }
        }
    }
}
