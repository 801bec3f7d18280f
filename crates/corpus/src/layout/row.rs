//! A row's fields, and its numbers as they are written.
//!
//! A JSON value holds a number as an integer of 64 bits or as a float of 64 bits, which is not always the number that was
//! written: `1.10` becomes 1.1, and `123456789012345678901` becomes 1.2345678901234568e20. Ids and texts that are made of a
//! number take it as it is written. Deeper inside a field, integers of more than 64 bits and numbers larger than any float cannot
//! be held, so they are known by the field that they are in, and the row is refused if that field is needed.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Number, Value};

use crate::RowProblem;

/// A row's fields, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    fields: Map<String, Value>,
    /// The numbers among the fields whose value is printed differently.
    written: BTreeMap<String, String>,
    /// A number inside each field that has some which cannot be held.
    too_large: BTreeMap<String, String>,
}

impl Row {
    /// The fields of a JSON object, which `text` is.
    pub(crate) fn of_json(fields: Map<String, Value>, text: &str) -> Self {
        let mut row = Self::from(fields);
        let mut depth = 0;
        let (mut at, mut key) = (0, "");
        let bytes = text.as_bytes();
        while let Some(&byte) = bytes.get(at) {
            let end = match byte {
                b'"' => end_of_string(bytes, at),
                b'-' | b'0'..=b'9' => end_of_number(bytes, at),
                _ => at + 1,
            };
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                // The last string before a number of the object itself is the number's key.
                b'"' if depth == 1 => key = &text[at..end],
                b'-' | b'0'..=b'9' => row.note(depth, key, &text[at..end]),
                _ => {}
            }
            at = end;
        }
        row
    }

    /// Notes a number of the row's text, if its value is not printed like that. `key` is a JSON string.
    fn note(&mut self, depth: usize, key: &str, number: &str) {
        let key = || serde_json::from_str::<String>(key).unwrap_or_default();
        if depth == 1 {
            self.set_written(key(), number);
        } else if is_large_integer(number) || is_beyond_floats(number) {
            self.too_large.insert(key(), number.to_owned());
        }
    }

    fn set_written(&mut self, name: String, number: &str) {
        match self.fields.get(&name) {
            Some(Value::Number(value)) if value.to_string() != number => {
                self.written.insert(name, number.to_owned());
            }
            // A field may be there twice; the last one counts.
            _ => drop(self.written.remove(&name)),
        }
    }

    /// Adds a field that is a number, as it is written.
    pub(crate) fn insert_number(&mut self, name: String, number: &str) {
        let integer = || number.parse::<i64>().map(Number::from).ok();
        let unsigned = || number.parse::<u64>().map(Number::from).ok();
        let float = || number.parse().ok().and_then(Number::from_f64);
        let value = integer().or_else(unsigned).or_else(float);
        self.fields
            .insert(name.clone(), value.map_or(Value::Null, Value::Number));
        self.set_written(name, number);
    }

    /// Adds a field.
    pub(crate) fn insert(&mut self, name: String, value: Value) {
        self.fields.insert(name, value);
    }

    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Takes a field out. Its number stays known to [`written`](Self::written).
    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        self.fields.shift_remove(name)
    }

    /// The number `value` of the field `name`, as it is written.
    pub(crate) fn written<'a>(&'a self, name: &str, value: &Number) -> Cow<'a, str> {
        match self.written.get(name) {
            Some(number) => Cow::Borrowed(number),
            None => Cow::Owned(value.to_string()),
        }
    }

    /// Checks that the values inside a field are those that are written.
    ///
    /// # Errors
    ///
    /// An integer of more than 64 bits, and a number larger than any float.
    pub(crate) fn check_integers(&self, name: &str) -> Result<(), RowProblem> {
        let Some(number) = self.too_large.get(name) else {
            return Ok(());
        };
        let (field, first) = (name.to_owned(), number.chars().take(40).collect());
        Err(if is_large_integer(number) {
            RowProblem::LargeInteger { field, number: first }
        } else {
            RowProblem::LargeNumber { field, number: first }
        })
    }

    /// The fields with their numbers as floats of 64 bits are printed: as [`RowRules::First`](crate::RowRules) has them.
    pub(crate) fn with_numbers_as_floats(mut self) -> Self {
        self.written.clear();
        self.too_large.clear();
        self
    }

    /// The row as a line of JSON.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        let mut line = vec![b'{'];
        for (name, value) in &self.fields {
            if line.len() > 1 {
                line.push(b',');
            }
            line.extend(Value::from(name.as_str()).to_string().bytes());
            line.push(b':');
            match value {
                Value::Number(number) => line.extend(self.written(name, number).bytes()),
                value => line.extend(value.to_string().bytes()),
            }
        }
        line.push(b'}');
        line
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fields.iter()
    }
}

impl From<Map<String, Value>> for Row {
    fn from(fields: Map<String, Value>) -> Self {
        Self {
            fields,
            ..Self::default()
        }
    }
}

#[cfg(test)]
impl From<Row> for Value {
    fn from(row: Row) -> Self {
        Self::Object(row.fields)
    }
}

/// Whether a number is an integer that takes more than 64 bits.
fn is_large_integer(number: &str) -> bool {
    // An integer of 18 digits has 60 bits.
    number.len() > 18
        && !number.contains(['.', 'e', 'E'])
        && number.parse::<i64>().is_err()
        && number.parse::<u64>().is_err()
}

fn is_beyond_floats(number: &str) -> bool {
    // The shortest such number is `2e308`.
    number.len() > 4 && number.parse::<f64>().is_ok_and(f64::is_infinite)
}

/// A row's text with a float in the place of each number that is larger than any; all else keeps its place.
pub(crate) fn within_floats(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut within, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b'"' => end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => end_of_number(bytes, at),
            // Up to the next of these.
            _ => {
                let more = bytes[at..]
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'));
                more.map_or(bytes.len(), |more| at + more)
            }
        };
        let part = &text[at..end];
        if byte != b'"' && is_beyond_floats(part) {
            let finite = if byte == b'-' { "-1e308" } else { "1e308" };
            within += finite;
            within.extend(std::iter::repeat_n(' ', part.len() - finite.len()));
        } else {
            within += part;
        }
        at = end;
    }
    within
}

/// The end of the string that begins at a quotation mark.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at = (at + 2).min(bytes.len()),
            Some(_) => at += 1,
        }
    }
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let more = bytes[start..].iter().take_while(|byte| is_part(byte)).count();
    start + more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Row::of_json(serde_json::from_str(text).unwrap(), text)
    }

    fn number(row: &Row, name: &str) -> String {
        let Some(Value::Number(value)) = row.get(name) else {
            panic!("`{name}` is no number")
        };
        row.written(name, value).into_owned()
    }

    #[test]
    fn a_number_is_what_is_written() {
        for written in [
            "123456789012345678901",
            "-123456789012345678901",
            "18446744073709551616",
            "9007199254740993.0",
            "1e5",
            "1E+05",
            "1.10",
            "1.0",
            "0.30000000000000004",
            "-0",
            "7",
            "-7",
            "18446744073709551615",
        ] {
            let text = format!(r#"{{"a": "1.5", "n" : {written} , "b": [2.50], "c": {{"n": 3.0}}}}"#);
            assert_eq!(number(&row(&text), "n"), written, "{written}");
            let mut table = Row::default();
            table.insert_number("n".into(), written);
            assert_eq!(number(&table, "n"), written, "{written}");
            // As the rules of old corpora have it.
            let value: Value = serde_json::from_str(written).unwrap();
            assert_eq!(number(&row(&text).with_numbers_as_floats(), "n"), value.to_string());
        }
    }

    #[test]
    fn keys_with_escapes_and_fields_that_occur_twice_have_their_own_numbers() {
        let read = row(r#"{"a\"\u00e9": 1.50, "x": "y\\", "b": 2.50, "b": 1.5, "c": 1.50, "c": "1.50"}"#);
        assert_eq!(number(&read, "a\"é"), "1.50");
        assert_eq!(number(&read, "b"), "1.5");
        assert_eq!(read.get("c").unwrap(), "1.50");
    }

    #[test]
    fn an_integer_of_more_than_64_bits_inside_a_field_is_known_by_the_field() {
        let read = row(
            r#"{"good": [{"n": 18446744073709551615, "s": "123456789012345678901", "f": 123456789012345678901.0}],
            "bad": {"list": [1, 123456789012345678901]}, "own": 123456789012345678901}"#,
        );
        assert!(read.check_integers("good").is_ok() && read.check_integers("own").is_ok());
        assert_eq!(
            read.check_integers("bad").unwrap_err().to_string(),
            "the field `bad` holds the integer 123456789012345678901, which has more than 64 bits"
        );
    }

    #[test]
    fn a_row_survives_being_written_as_a_line() {
        let text = r#"{"a":1.10,"b":[1.5,{"c":"\"x\""}],"n":null,"e\"":1e5}"#;
        let line = String::from_utf8(row(text).to_line()).unwrap();
        assert_eq!(line, text);
        assert_eq!(row(&line), row(text));
    }
}
