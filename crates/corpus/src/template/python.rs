//! The functions, filters and methods of Python and transformers that chat templates use.

use minijinja::{
    Error, ErrorKind, State, Value,
    formatting::{self, FormatStyle},
    value::{Kwargs, Rest},
};
use minijinja_contrib::pycompat;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::bounds;

/// Lets a template refuse a conversation.
pub(super) fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// The date that a template gets as today's: always Friday 26 July 2024, midnight.
///
/// Today's date would make the same data differ when it is prepared on two days. This date is the default of Llama 3's
/// own templates.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let mut directive = characters.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = characters.next();
        }
        let value = match directive {
            Some('a') => "Fri",
            Some('A') => "Friday",
            Some('w') => "5",
            Some('d' | 'e') => "26",
            Some('b' | 'h') => "Jul",
            Some('B') => "July",
            Some('m') => "07",
            Some('y') => "24",
            Some('Y') => "2024",
            Some('j') => "208",
            Some('H' | 'M' | 'S') => "00",
            Some('I') => "12",
            Some('p') => "AM",
            Some('F') => "2024-07-26",
            Some('T') => "00:00:00",
            Some('D') => "07/26/24",
            Some('Z') => "UTC",
            Some('z') => "+0000",
            Some('%') => "%",
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("`strftime_now` does not know a directive of `{format}`"),
                ));
            }
        };
        let shown = if unpadded && value.len() > 1 {
            value.strip_prefix('0').unwrap_or(value)
        } else {
            value
        };
        text += shown;
    }
    Ok(text)
}

/// Python's methods. If the result may be far longer than the arguments, its fuel is taken before the call.
pub(super) fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let first = arguments.first();
        let bytes = match (name, first) {
            ("replace", Some(old)) => {
                let found = old.as_str().map_or(0, |old| text.matches(old).count());
                let new = arguments.get(1).and_then(Value::as_str).map_or(0, str::len);
                found.saturating_mul(new)
            }
            ("join", Some(items)) => items.len().unwrap_or(0).saturating_mul(text.len()),
            ("format", _) => formatted_bytes(state, '{', text, arguments)?,
            _ => 0,
        };
        pay_for(state, bytes)?;
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// The filter `format`, Python's `%`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn format(state: &State, text: &str, arguments: Rest<Value>) -> Result<String, Error> {
    pay_for(state, formatted_bytes(state, '%', text, &arguments)?)?;
    formatting::format(FormatStyle::Printf, text, &arguments)
}

/// Takes the fuel for so many bytes.
fn pay_for(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// The most bytes that formatting may give: each place may hold the largest argument, as wide as the largest number in
/// the text or among the arguments that are widths.
fn formatted_bytes(state: &State, place: char, text: &str, arguments: &[Value]) -> Result<usize, Error> {
    let mut widest = text
        .split(|character: char| !character.is_ascii_digit())
        .map(|digits| {
            if digits.is_empty() {
                0
            } else {
                digits.parse().unwrap_or(usize::MAX)
            }
        })
        .max()
        .unwrap_or(0);
    let mut largest = 0;
    for argument in arguments {
        largest = bounds::charge(state, argument)?.max(largest);
        if place == '%' && text.contains('*') {
            widest = widest.max(argument.as_usize().unwrap_or(0));
        }
    }
    Ok(text
        .matches(place)
        .count()
        .saturating_mul(widest.saturating_add(largest)))
}

/// `json.dumps` as transformers calls it: nothing is escaped for HTML, and characters beyond ASCII stay as they are.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands its keyword arguments over by value"
)]
pub(super) fn tojson(state: &State, value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    let ensure_ascii: Option<bool> = arguments.get("ensure_ascii")?;
    arguments.assert_all_used()?;
    if ensure_ascii == Some(true) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "`tojson` with `ensure_ascii=true` is not supported",
        ));
    }
    bounds::charge(state, value)?;
    let mut bytes = Affordable::new(state);
    let written = if let Some(indent) = indent {
        let indent = " ".repeat(indent.min(64));
        let formatter = PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, SpacedFormatter))
    };
    let invalid = |error| Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error);
    written.map_err(invalid)?;
    let text = String::from_utf8(bytes.written).expect("the JSON writer writes UTF-8");
    Ok(Value::from(text))
}

/// A writer that fails when the fuel does not pay for the bytes.
struct Affordable {
    written: Vec<u8>,
    most: usize,
}

impl Affordable {
    fn new(state: &State) -> Self {
        let fuel = state.fuel_levels().map_or(0, |(_, remaining)| remaining);
        Self {
            written: Vec::new(),
            most: usize::try_from(fuel.saturating_mul(64)).unwrap_or(usize::MAX),
        }
    }
}

impl std::io::Write for Affordable {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.most - self.written.len() {
            return Err(std::io::Error::other("out of fuel"));
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Python's default form: one line, with a space after every comma and colon.
struct SpacedFormatter;

impl Formatter for SpacedFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The template with `{% generation %}` and its end replaced by blocks that do nothing. transformers adds these tags to
/// the language to mark the assistant's tokens.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start + 2..].find("%}") else {
            break;
        };
        let end = start + 2 + length;
        let (before, inner) = (&rest[..start], &rest[start + 2..end]);
        let (tag, after) = (&rest[start..end + 2], &rest[end + 2..]);
        text += before;
        match inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+') {
            "generation" => text += &tag.replace("generation", "if true"),
            "endgeneration" => text += &tag.replace("endgeneration", "endif"),
            _ => text += tag,
        }
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn today_is_always_the_same_day() {
        assert_eq!(strftime_now("%d %b %Y").unwrap(), "26 Jul 2024");
        assert_eq!(
            strftime_now("%A, %B %-d, %Y at %-H:%M 100%% %-m").unwrap(),
            "Friday, July 26, 2024 at 0:00 100% 7"
        );
        assert!(strftime_now("%Q").is_err());
        assert!(strftime_now("%").is_err());
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = Value::from(minijinja::value::Serde(
            serde_json::json!({"b": [1, "<é>"], "a": {"x": null}}),
        ));
        let none = || Kwargs::from_iter::<[(&str, Value); 0]>([]);
        let mut environment = minijinja::Environment::new();
        environment.set_fuel(Some(1000));
        let state = environment.empty_state();
        assert_eq!(
            tojson(&state, &value, none()).unwrap().as_str(),
            Some(r#"{"b": [1, "<é>"], "a": {"x": null}}"#)
        );
        let indent = Kwargs::from_iter([("indent", Value::from(2))]);
        assert_eq!(
            tojson(&state, &Value::from(vec![1, 2]), indent).unwrap().as_str(),
            Some("[\n  1,\n  2\n]")
        );
        let unknown = Kwargs::from_iter([("colour", Value::from(2))]);
        assert!(tojson(&state, &value, unknown).is_err());
    }

    #[test]
    fn generation_tags_become_blocks_that_do_nothing() {
        let source = "{%- generation -%}{{ generation }}{% endgeneration %} {% if x %}generation{% endif %} {% open";
        let expected = "{%- if true -%}{{ generation }}{% endif %} {% if x %}generation{% endif %} {% open";
        assert_eq!(without_generation_tags(source), expected);
        // A `%` cannot be part of the start and the end of a tag.
        assert_eq!(without_generation_tags("a{%}b"), "a{%}b");
        assert_eq!(without_generation_tags("{%}{%generation%}"), "{%}{%generation%}");
        assert_eq!(without_generation_tags("{%%}{%generation%}"), "{%%}{%if true%}");
    }
}
