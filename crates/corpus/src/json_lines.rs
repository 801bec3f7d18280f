//! Lines of text out of plain and compressed files, one after the other, never a whole file at once.
//!
//! Says where each line stands; what is in it is not this file's business.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::CorpusError;

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The index of its file.
    pub(crate) file: usize,
    /// The line, counted from 1, blank ones included.
    pub(crate) number: u64,
    /// Its bytes, without the line's end.
    pub(crate) bytes: Vec<u8>,
}

/// The lines of several files.
pub(crate) struct JsonLines {
    files: Vec<PathBuf>,
    next_file: usize,
    reader: Option<Box<dyn BufRead>>,
    line: u64,
    bytes_read: Arc<AtomicU64>,
}

impl JsonLines {
    pub(crate) fn new(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            next_file: 0,
            reader: None,
            line: 0,
            bytes_read: Arc::default(),
        }
    }

    /// Bytes read so far, as they lie on disk.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The next line that is not blank; `None` after the last of the last file.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line>, CorpusError> {
        loop {
            let Some(reader) = &mut self.reader else {
                let Some(path) = self.files.get(self.next_file) else {
                    return Ok(None);
                };
                self.reader = Some(open(path, &self.bytes_read)?);
                self.next_file += 1;
                self.line = 0;
                continue;
            };
            let file = self.next_file - 1;
            let mut bytes = Vec::new();
            let read = reader
                .read_until(b'\n', &mut bytes)
                .map_err(|source| CorpusError::Read {
                    path: self.files[file].clone(),
                    line: self.line,
                    source,
                })?;
            if read == 0 {
                self.reader = None;
                continue;
            }
            self.line += 1;
            if self.line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            while bytes.last().is_some_and(u8::is_ascii_whitespace) {
                bytes.pop();
            }
            if !bytes.trim_ascii_start().is_empty() {
                return Ok(Some(Line {
                    file,
                    number: self.line,
                    bytes,
                }));
            }
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Large enough that decompression and system calls are not per line.
const BUFFER_BYTES: usize = 1 << 16;

fn open(path: &Path, bytes_read: &Arc<AtomicU64>) -> Result<Box<dyn BufRead>, CorpusError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => CorpusError::MissingFile { path: path.to_owned() },
        _ => CorpusError::Open {
            path: path.to_owned(),
            source,
        },
    };
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

/// Counts what is read of a file, so that progress is known before decompression.
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

    use super::*;

    fn read(paths: &[&Path]) -> Result<Vec<(usize, u64, String)>, CorpusError> {
        let mut lines = JsonLines::new(paths.iter().map(|&path| path.to_owned()).collect());
        let mut all = Vec::new();
        while let Some(Line { file, number, bytes }) = lines.next_line()? {
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
