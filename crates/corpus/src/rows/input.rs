//! Opens a file of rows: plain or decompressed, and refused by name if it is something else.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{CorpusError, error::open_error};

/// Large enough that a system call and a step of decompression serve many lines.
const BUFFER_BYTES: usize = 1 << 16;

/// What files with these extensions are, none of which is read.
const UNSUPPORTED_NAMES: [(&[&str], &str); 8] = [
    (&["bz2", "tbz2"], "compressed with bzip2"),
    (&["xz", "lzma", "txz"], "compressed with xz"),
    (&["br"], "compressed with brotli"),
    (
        &["lz4", "lz", "sz", "snappy", "z"],
        "compressed in a way that is not supported",
    ),
    (&["zip", "7z", "rar", "tar", "tgz"], "an archive"),
    (&["csv", "tsv"], "a table of text"),
    (
        &["feather", "orc", "avro", "xlsx"],
        "a table of a kind that is not supported",
    ),
    (
        &["pkl", "pickle", "npy", "npz", "pt", "safetensors", "tfrecord"],
        "no file of rows",
    ),
];

/// How files begin that may stand under a name of plain text.
const UNSUPPORTED_STARTS: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "compressed with gzip, but its name does not end in `.gz`"),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd, but its name does not end in `.zst`",
    ),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"BZh", "compressed with bzip2"),
    (b"PK\x03\x04", "an archive"),
    (b"PAR1", "a Parquet table, but its name does not end in `.parquet`"),
    (b"ARROW1", "an Arrow file, but its name does not end in `.arrow`"),
    (b"\xff\xfe", "text in UTF-16; rows are in UTF-8"),
];

/// How the rows are stored in a file of text.
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Opens a file of rows.
///
/// # Errors
///
/// A file that is missing, cannot be opened, is no regular file or stands for one in Git's large file storage; a name that says
/// that the file is of a kind that is not read.
pub(super) fn open_file(path: &Path) -> Result<File, CorpusError> {
    let unsupported = |what: &str| CorpusError::UnsupportedFile {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let extension = extension_of(path);
    if let Some((_, what)) = UNSUPPORTED_NAMES
        .iter()
        .find(|(names, _)| names.contains(&extension.as_str()))
    {
        return Err(unsupported(what));
    }
    leadspan_files::open_regular(path).map_err(|source| open_error(path, source))
}

/// Opens a file of text for reading what is decompressed. `bytes_read` counts the bytes on disk.
pub(super) fn open_text(path: &Path, bytes_read: &Arc<AtomicU64>) -> Result<Box<dyn BufRead + Send>, CorpusError> {
    let failed = |source| open_error(path, source);
    let mut file = open_file(path)?;
    let compression = match extension_of(path).as_str() {
        "gz" => Compression::Gzip,
        "zst" => Compression::Zstd,
        _ => Compression::None,
    };
    let start = start_of(&mut file).map_err(failed)?;
    if let Some(what) = contradiction(&compression, &start) {
        return Err(CorpusError::UnsupportedFile {
            path: path.to_owned(),
            what: what.to_owned(),
        });
    }
    let inner = CountedReader {
        inner: file,
        bytes_read: Arc::clone(bytes_read),
    };
    let file = BufReader::with_capacity(BUFFER_BYTES, inner);
    Ok(match compression {
        Compression::Gzip => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            flate2::bufread::MultiGzDecoder::new(file),
        )),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(failed)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
        Compression::None => Box::new(file),
    })
}

/// What a file is, by its first bytes, that it is not by its name.
fn contradiction(compression: &Compression, start: &[u8]) -> Option<&'static str> {
    let otherwise = match compression {
        Compression::Gzip if start.starts_with(b"\x1f\x8b") => return None,
        Compression::Zstd if start.starts_with(b"\x28\xb5\x2f\xfd") => return None,
        // A frame that is skipped.
        Compression::Zstd if start.get(1..4) == Some(b"\x2a\x4d\x18") => return None,
        Compression::Gzip => Some("not compressed with gzip, although its name ends in `.gz`"),
        Compression::Zstd => Some("not compressed with zstd, although its name ends in `.zst`"),
        Compression::None => None,
    };
    let known = UNSUPPORTED_STARTS.iter().find(|(bytes, _)| start.starts_with(bytes));
    known.map(|(_, what)| *what).or(otherwise.filter(|_| !start.is_empty()))
}

fn extension_of(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_ascii_lowercase()
}

/// The first bytes of a file, which is rewound.
fn start_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.by_ref().take(64).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start)
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
    use std::fs;

    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    #[test]
    fn files_of_other_kinds_are_refused_by_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content, expected) in [
            ("a.jsonl.bz2", &b"BZh9"[..], "it is compressed with bzip2"),
            ("a.jsonl.xz", b"", "it is compressed with xz"),
            ("a.jsonl.BR", b"", "it is compressed with brotli"),
            ("a.csv", b"a,b", "it is a table of text"),
            (
                "a.jsonl",
                b"\x1f\x8b\x08",
                "it is compressed with gzip, but its name does not end in `.gz`",
            ),
            (
                "b.jsonl",
                b"PAR1",
                "it is a Parquet table, but its name does not end in `.parquet`",
            ),
            ("c.jsonl", b"\xff\xfe{\0", "it is text in UTF-16; rows are in UTF-8"),
            (
                "a.jsonl.gz",
                b"{\"id\": 1}\n",
                "it is not compressed with gzip, although its name ends in `.gz`",
            ),
            (
                "a.jsonl.zst",
                b"{\"id\": 1}\n",
                "it is not compressed with zstd, although its name ends in `.zst`",
            ),
            (
                "b.jsonl.zst",
                b"\x1f\x8b\x08",
                "it is compressed with gzip, but its name does not end in `.gz`",
            ),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            let error = open_text(&path, &Arc::default()).err().unwrap();
            assert_eq!(
                error.to_string(),
                format!("`{}` cannot be read: {expected}", path.display())
            );
            assert!(
                !error.is_unexpected() && error.hint().unwrap().contains("`.zst`"),
                "{name}"
            );
        }
    }

    #[test]
    fn a_pointer_of_git_lfs_is_refused_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.arrow"] {
            let path = folder.path().join(name);
            fs::write(
                &path,
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            )
            .unwrap();
            let error = open_file(&path).unwrap_err();
            assert!(matches!(error, CorpusError::GitLfsPointer { .. }), "{error}");
            assert!(!error.is_unexpected() && error.hint().unwrap().contains("git lfs pull"));
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("zero.jsonl");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        let pipe = folder.path().join("pipe.jsonl");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        for path in [&link, &pipe, &folder.path().to_owned()] {
            let error = open_file(path).unwrap_err();
            assert!(
                matches!(
                    error,
                    CorpusError::NotARegularFile { .. } | CorpusError::NotAFile { .. }
                ),
                "{error}"
            );
            assert!(!error.is_unexpected() && error.hint().is_some());
        }
    }
}
