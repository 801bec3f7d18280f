//! The elements of a file that is one JSON array, one after the other.
//!
//! Only brackets, commas and strings are looked at here. Whether an element is a JSON object is found when it is parsed.

use std::io::{self, BufRead};

/// A row of text.
pub(super) enum TextRow {
    /// Its bytes.
    Row(Vec<u8>),
    /// It has more bytes than a row may have, and all of it was read.
    TooLong,
}

/// Where reading is in the array. Its opening bracket has been read.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// Whether the closing bracket was read.
    closed: bool,
}

/// The state within an element.
#[derive(Default)]
struct Nesting {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Whether `byte` ends the element; it is not part of it then.
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.in_string {
            let is_escaped = std::mem::take(&mut self.escaped);
            match byte {
                _ if is_escaped => {}
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b',' | b']' if self.depth == 0 => return true,
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

impl Elements {
    /// The next element, without the white space around it; `None` after the last. A comma behind the last element is no further
    /// one. Unless `stop`, an element of too many bytes
    /// is read to its end.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, ends inside the array, or has something after it.
    pub(super) fn next(
        &mut self,
        reader: &mut dyn BufRead,
        most_bytes: u64,
        stop: bool,
    ) -> io::Result<Option<TextRow>> {
        if self.closed {
            return nothing_more(reader).map(|()| None);
        }
        let mut nesting = Nesting::default();
        let mut element = Vec::new();
        let mut too_long = false;
        let end = loop {
            let buffer = fill(reader)?;
            if buffer.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the array is not closed"));
            }
            let end = buffer.iter().position(|&byte| nesting.ends_at(byte));
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let part = if element.is_empty() {
                part.trim_ascii_start()
            } else {
                part
            };
            too_long |= (element.len() + part.len()) as u64 > most_bytes;
            if too_long {
                element = Vec::new();
            } else {
                element.extend_from_slice(part);
            }
            if too_long && stop {
                return Ok(Some(TextRow::TooLong));
            }
            let used = end.map_or(buffer.len(), |end| end + 1);
            let ending = end.map(|end| buffer[end]);
            reader.consume(used);
            if let Some(ending) = ending {
                break ending;
            }
        };
        self.closed = end == b']';
        if self.closed && element.is_empty() && !too_long {
            return nothing_more(reader).map(|()| None);
        }
        Ok(Some(if too_long {
            TextRow::TooLong
        } else {
            TextRow::Row(element)
        }))
    }
}

/// Reads to the end of the file.
fn nothing_more(reader: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = fill(reader)?;
        if buffer.is_empty() {
            return Ok(());
        }
        if !buffer.trim_ascii().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something follows the array",
            ));
        }
        let used = buffer.len();
        reader.consume(used);
    }
}

/// The bytes that can be read, which are none at the end.
fn fill(reader: &mut dyn BufRead) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            // Borrowed once more, because the compiler does not accept to return what the loop borrows.
            Ok(_) => break,
        }
    }
    reader.fill_buf()
}
