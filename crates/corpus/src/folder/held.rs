//! What a file in a data set's folder holds, by its name: rows, rows in a format that is not read, or no rows.
//!
//! A `.json` file may hold rows or describe the data set. One whose name is only a split, such as `train-0.json`, holds rows.
//! Any other holds rows if it begins as a list of objects or as lines of objects, unless a word of its name says that it describes.

use std::{
    io::{self, Read},
    path::Path,
};

use super::told::Told;
use crate::rows::FileKind;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Rows. Those in a compression that is not read count, so that they are not passed over.
    Rows,
    /// Probably rows, in a format that is not read.
    Unread(&'static str),
    Nothing,
}

/// Compressions of which a file may hold rows.
const COMPRESSIONS: [&str; 6] = ["gz", "zst", "bz2", "xz", "br", "lz4"];

/// Formats that are not read, with what they are.
const UNREAD: [(&str, &str); 14] = [
    ("parquet", "a Parquet table that is compressed as a whole"),
    ("arrow", "an Arrow stream that is compressed as a whole"),
    ("csv", "a table of comma-separated values"),
    ("tsv", "a table of tab-separated values"),
    ("zip", "a ZIP archive"),
    ("tar", "a tar archive"),
    ("tgz", "a tar archive"),
    ("7z", "a 7-Zip archive"),
    ("rar", "a RAR archive"),
    ("xlsx", "an Excel table"),
    ("orc", "an ORC table"),
    ("avro", "an Avro file"),
    ("feather", "a Feather table"),
    ("pkl", "a Python pickle"),
];

/// Words in the names of files that describe a data set or a model.
const DESCRIBING: [&str; 27] = [
    "args",
    "card",
    "citation",
    "config",
    "configs",
    "croissant",
    "dict",
    "features",
    "index",
    "info",
    "infos",
    "license",
    "log",
    "manifest",
    "meta",
    "metadata",
    "metrics",
    "package",
    "readme",
    "results",
    "schema",
    "settings",
    "state",
    "statistics",
    "stats",
    "tokenizer",
    "vocab",
];

/// The bytes of a file that are looked at: more than a description has on its first line, unless it is one line.
const LOOKED_AT: u64 = 64 << 10;

/// What the file at `path` holds.
pub(super) fn held(path: &Path) -> Held {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let (stem, extension, is_compressed) = parts(&name);
    match extension {
        "jsonl" | "ndjson" => Held::Rows,
        "json" if !describes(stem) && (is_split(&name) || is_compressed || begins_with_rows(path)) => Held::Rows,
        _ if FileKind::of(path) != FileKind::Json => Held::Rows,
        _ => match UNREAD.iter().find(|(unread, _)| *unread == extension) {
            Some((_, what)) if !describes(stem) => Held::Unread(what),
            _ => Held::Nothing,
        },
    }
}

/// A name's stem and format, and whether it is compressed.
pub(super) fn parts(name: &str) -> (&str, &str, bool) {
    let split = |name| str::rsplit_once(name, '.').unwrap_or((name, ""));
    let (stem, extension) = split(name);
    if COMPRESSIONS.contains(&extension) {
        let (stem, extension) = split(stem);
        return (stem, extension, true);
    }
    (stem, extension, false)
}

fn describes(stem: &str) -> bool {
    let mut words = stem.split(|character: char| !character.is_alphanumeric());
    words.any(|word| DESCRIBING.contains(&word))
}

/// Whether a name tells a split, and no other word.
fn is_split(name: &str) -> bool {
    Told::of(&[name.to_owned()]).is_some_and(|told| told.configuration(false) == ".")
}

/// Whether a text of JSON begins as a list of objects or as lines of objects. What cannot be read is left to the reader, which
/// says why.
fn begins_with_rows(path: &Path) -> bool {
    let start = || -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        leadspan_files::open_regular(path)?
            .take(LOOKED_AT)
            .read_to_end(&mut start)?;
        Ok(start)
    };
    let Ok(start) = start() else { return true };
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    match start.first() {
        Some(b'[') => start[1..].trim_ascii_start().first() == Some(&b'{'),
        Some(b'{') => {
            let mut lines = start.splitn(2, |byte| *byte == b'\n');
            let first = lines.next().unwrap_or_default();
            match lines.next() {
                // One long line that is cut off.
                None => start.len() as u64 > LOOKED_AT / 2,
                Some(rest) => {
                    rest.trim_ascii_start().first() == Some(&b'{')
                        && serde_json::from_slice::<serde_json::Value>(first).is_ok()
                }
            }
        }
        _ => false,
    }
}
