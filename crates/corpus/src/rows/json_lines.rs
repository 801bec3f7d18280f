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
use crate::{
    BadRow, CorpusError, RowProblem, RowRules,
    bad_row::{RowLimit, VALUE_BYTES},
    error::open_error,
    layout::{Row, within_floats},
    row_problem::kind_of,
};

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
                TextRow::Row(bytes) if !has_too_many_values(&bytes, most_bytes) => bytes,
                _ if stop => {
                    return Err(CorpusError::LongRow {
                        path: self.path.clone(),
                        row: self.row,
                        most_bytes,
                    });
                }
                _ => return Ok(Some((self.row, RowContent::TooLong { most_bytes }))),
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

/// Whether the values in a row count for too many bytes, so that it is not parsed.
fn has_too_many_values(bytes: &[u8], most_bytes: u64) -> bool {
    // A value is stored in two bytes at least.
    if bytes.len() as u64 / 2 <= most_bytes / VALUE_BYTES {
        return false;
    }
    let (mut values, mut in_string, mut escaped) = (0, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' | b',' if !in_string => values += 1,
            _ => {}
        }
    }
    values > most_bytes / VALUE_BYTES
}

/// The fields of a line. A number larger than any float counts for the field that it is in, except by the first rules.
pub(super) fn parse(bytes: &[u8], rules: RowRules) -> Result<Row, RowProblem> {
    let text = std::str::from_utf8(bytes).map_err(|error| RowProblem::InvalidUtf8 {
        byte: error.valid_up_to(),
    })?;
    let value = match serde_json::from_str(text) {
        Err(error) if rules > RowRules::First && error.to_string().starts_with("number out of range") => {
            serde_json::from_str(&within_floats(text))
        }
        read => read,
    };
    match value.map_err(|error| invalid_json(&error))? {
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
mod tests;
