//! Lines of plain and compressed files, and their fields if they are JSON objects.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;

use super::RowContent;
use crate::{CorpusError, RowProblem, error::open_error, layout::Row, row_problem::kind_of};

/// The most bytes of a line: a hundred times the longest conversation that anybody learns from, and few enough to hold. A
/// small compressed file can claim any number.
const LINE_BYTES: u64 = 256 << 20;

/// The lines of a file.
pub(super) struct JsonLines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    /// The most bytes of a line, its end included.
    most_bytes: u64,
    bytes_read: Arc<AtomicU64>,
}

impl JsonLines {
    pub(super) fn open(path: &Path) -> Result<Self, CorpusError> {
        Self::open_with(path, LINE_BYTES)
    }

    fn open_with(path: &Path, most_bytes: u64) -> Result<Self, CorpusError> {
        let bytes_read = Arc::default();
        Ok(Self {
            path: path.to_owned(),
            reader: open(path, &bytes_read)?,
            line: 0,
            most_bytes,
            bytes_read,
        })
    }

    /// Bytes read so far, counted on disk.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The next line that is not blank, and its number; `None` after the last.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or decompressed, and a line of more than [`LINE_BYTES`].
    pub(super) fn next(&mut self) -> Result<Option<(u64, RowContent)>, CorpusError> {
        loop {
            let mut bytes = Vec::new();
            let line = (&mut self.reader)
                .take(self.most_bytes + 1)
                .read_until(b'\n', &mut bytes);
            let read = line.map_err(|source| CorpusError::Read {
                path: self.path.clone(),
                line: self.line,
                source,
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read as u64 > self.most_bytes {
                return Err(CorpusError::LongLine {
                    path: self.path.clone(),
                    line: self.line,
                    most_bytes: self.most_bytes,
                });
            }
            if self.line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            while bytes.last().is_some_and(u8::is_ascii_whitespace) {
                bytes.pop();
            }
            if !bytes.trim_ascii_start().is_empty() {
                return Ok(Some((self.line, RowContent::Line(bytes))));
            }
        }
    }
}

/// The fields of a line.
pub(super) fn parse(bytes: &[u8]) -> Result<Row, RowProblem> {
    let text = std::str::from_utf8(bytes).map_err(|error| RowProblem::InvalidUtf8 {
        byte: error.valid_up_to(),
    })?;
    match serde_json::from_str(text).map_err(|error| invalid_json(&error))? {
        Value::Object(row) => Ok(row),
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

/// Large enough that a system call and a step of decompression serve many lines.
const BUFFER_BYTES: usize = 1 << 16;

fn open(path: &Path, bytes_read: &Arc<AtomicU64>) -> Result<Box<dyn BufRead + Send>, CorpusError> {
    let failed = |source| open_error(path, source);
    let file = CountedReader {
        inner: File::open(path).map_err(failed)?,
        bytes_read: Arc::clone(bytes_read),
    };
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    Ok(match extension.as_deref() {
        Some("gz") => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            flate2::bufread::MultiGzDecoder::new(file),
        )),
        Some("zst") => {
            let decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(failed)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
        _ => Box::new(file),
    })
}

/// Counts the bytes read of a file before decompression, for progress.
struct CountedReader {
    inner: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use leadspan_diagnosis::Diagnosis as _;

    use super::*;
    use crate::rows::{RawRow, RowReader};

    fn read(paths: &[&Path]) -> Result<Vec<(usize, u64, String)>, CorpusError> {
        let mut lines = RowReader::new(paths.iter().map(|&path| path.to_owned()).collect(), Vec::new());
        let mut all = Vec::new();
        while let Some(RawRow { file, number, content }) = lines.next_row()? {
            let RowContent::Line(bytes) = content else {
                panic!("not a line")
            };
            all.push((file, number, String::from_utf8(bytes).unwrap()));
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

    #[test]
    fn a_line_of_too_many_bytes_is_an_error_that_names_it_however_the_file_is_stored() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("{}\n{}\n", "a".repeat(999), "b".repeat(100_000));
        for (name, stored) in [
            ("a.jsonl", text.clone().into_bytes()),
            ("a.gz", gzip(text.as_bytes())),
            ("a.zst", zstd::encode_all(text.as_bytes(), 3).unwrap()),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, stored).unwrap();
            let mut lines = JsonLines::open_with(&path, 1000).unwrap();
            assert!(lines.next().unwrap().is_some(), "{name}");
            let error = lines.next().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("line 2 of `{}` has more than 1000 bytes", path.display())
            );
            assert!(!error.is_unexpected() && error.hint().unwrap().contains("lines of their own"));
            let mut lines = JsonLines::open_with(&path, 100_001).unwrap();
            assert!(
                lines.next().unwrap().is_some() && lines.next().unwrap().is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_line_that_decompresses_to_more_than_fits_is_refused_in_bounded_memory() {
        // 300 MB of one letter, in some 30 KB.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.zst");
        let letters = std::io::repeat(b'a').take(300 << 20);
        zstd::stream::copy_encode(letters, fs::File::create(&path).unwrap(), 1).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 1 << 20);
        let error = read(&[&path]).unwrap_err();
        assert!(matches!(error, CorpusError::LongLine { line: 1, .. }), "{error}");
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
