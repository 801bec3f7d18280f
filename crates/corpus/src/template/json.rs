//! The filter `tojson`: Python's `json.dumps` as transformers calls it.
//!
//! Nothing is escaped for HTML, and characters beyond ASCII stay as they are unless `ensure_ascii` is set.

use std::cmp::Ordering;

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Rest, ValueKind},
};

use super::{arguments::bound, bounds, numbers::float_text};

/// The arguments in the order in which they may be given without a name.
const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];

/// The filter.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn tojson(state: &State, value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let given = bound("tojson", NAMES, &positional, Some(&named))?.map(|value| value.filter(|value| !value.is_none()));
    let [ensure_ascii, indent, separators, sort_keys] = given;
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let indent = indent.map(|indent| indentation(&indent)).transpose()?;
    let between = if indent.is_some() { "," } else { ", " };
    let (between, after_key) = match separators {
        Some(separators) => separators_of(&separators)?,
        None => (between.to_owned(), ": ".to_owned()),
    };
    let (ensure_ascii, sort_keys) = (is_true(ensure_ascii), is_true(sort_keys));
    bounds::charge(state, value)?;
    let fuel = state.fuel_levels().map_or(0, |(_, remaining)| remaining);
    let mut writer = Writer {
        text: String::new(),
        most: usize::try_from(fuel.saturating_mul(64)).unwrap_or(usize::MAX),
        ensure_ascii,
        indent,
        between,
        after_key,
        sort_keys,
    };
    writer.value(value, 0)?;
    Ok(Value::from(writer.text))
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadSerialization, problem.into())
}

/// The white space of one level: that many spaces, or the text itself.
fn indentation(indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_owned());
    }
    let spaces =
        i64::try_from(indent.clone()).map_err(|_| invalid("`indent` of `tojson` must be a number or a text"))?;
    Ok(" ".repeat(usize::try_from(spaces.clamp(0, 64)).unwrap_or_default()))
}

fn separators_of(value: &Value) -> Result<(String, String), Error> {
    let not = || invalid("`separators` of `tojson` must be two texts");
    let texts: Vec<Value> = value.try_iter().map_err(|_| not())?.collect();
    match texts.as_slice() {
        [between, after_key] => match (between.as_str(), after_key.as_str()) {
            (Some(between), Some(after_key)) => Ok((between.to_owned(), after_key.to_owned())),
            _ => Err(not()),
        },
        _ => Err(not()),
    }
}

/// Writes values as JSON, up to what the fuel pays for.
struct Writer {
    text: String,
    most: usize,
    ensure_ascii: bool,
    indent: Option<String>,
    between: String,
    after_key: String,
    sort_keys: bool,
}

impl Writer {
    /// The depth was checked when the value was paid for.
    fn value(&mut self, value: &Value, level: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.push("null"),
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.push(&number(value)?),
            ValueKind::String => self.quoted(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list("[", "]", items.len(), level, |writer, index| {
                    writer.value(&items[index], level + 1)
                })
            }
            ValueKind::Map => {
                let mut pairs = Vec::new();
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    pairs.push((key, item));
                }
                if self.sort_keys {
                    sort(&mut pairs)?;
                }
                self.list("{", "}", pairs.len(), level, |writer, index| {
                    let (key, item) = &pairs[index];
                    writer.quoted(&key_text(key)?)?;
                    let after_key = writer.after_key.clone();
                    writer.push(&after_key)?;
                    writer.value(item, level + 1)
                })
            }
            kind => Err(invalid(format!(
                "a value of the kind `{kind}` cannot be written as JSON"
            ))),
        }
    }

    fn list(
        &mut self,
        open: &str,
        close: &str,
        count: usize,
        level: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.push(open)?;
        for index in 0..count {
            if index > 0 {
                let between = self.between.clone();
                self.push(&between)?;
            }
            self.line(level + 1)?;
            item(self, index)?;
        }
        if count > 0 {
            self.line(level)?;
        }
        self.push(close)
    }

    /// Begins a line of that level, if there are lines.
    fn line(&mut self, level: usize) -> Result<(), Error> {
        let Some(indent) = self.indent.clone() else {
            return Ok(());
        };
        self.push("\n")?;
        (0..level).try_for_each(|_| self.push(&indent))
    }

    fn quoted(&mut self, text: &str) -> Result<(), Error> {
        self.push("\"")?;
        for character in text.chars() {
            match character {
                '"' => self.push("\\\"")?,
                '\\' => self.push("\\\\")?,
                '\n' => self.push("\\n")?,
                '\r' => self.push("\\r")?,
                '\t' => self.push("\\t")?,
                '\u{8}' => self.push("\\b")?,
                '\u{c}' => self.push("\\f")?,
                ' '..='~' => self.push(character.encode_utf8(&mut [0; 4]))?,
                _ if character >= ' ' && !self.ensure_ascii => self.push(character.encode_utf8(&mut [0; 4]))?,
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        self.push(&format!("\\u{unit:04x}"))?;
                    }
                }
            }
        }
        self.push("\"")
    }

    fn push(&mut self, text: &str) -> Result<(), Error> {
        if text.len() > self.most - self.text.len() {
            return Err(Error::new(
                ErrorKind::OutOfFuel,
                "cannot be written as JSON: out of fuel",
            ));
        }
        self.text += text;
        Ok(())
    }
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let number = f64::try_from(value.clone())?;
    Ok(if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        float_text(number)
    })
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => number(key),
        kind => Err(invalid(format!("a key of the kind `{kind}` cannot be written as JSON"))),
    }
}

/// Sorts by the keys. Python does not compare keys of different kinds.
fn sort(pairs: &mut [(Value, Value)]) -> Result<(), Error> {
    let is = |kind: ValueKind| pairs.iter().all(|(key, _)| key.kind() == kind);
    if pairs.len() > 1 && !is(ValueKind::String) && !is(ValueKind::Number) {
        return Err(invalid("keys of different kinds cannot be sorted"));
    }
    pairs.sort_by(|(one, _), (other, _)| one.partial_cmp(other).unwrap_or(Ordering::Equal));
    Ok(())
}
