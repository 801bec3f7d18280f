//! Values as texts: what Python's `str` makes of them.
//!
//! The engine writes most values as Python does, but not floats that need an exponent, nor characters in lists and maps that
//! Python's `repr` escapes. Python writes the same wherever a value becomes text, so every filter and operator here that makes
//! text goes through this file.

use std::collections::BTreeMap;

use minijinja::{
    Environment, Error, State, Value, filters,
    value::{Kwargs, ObjectRepr, Rest, ValueKind},
};

use super::{
    arguments::{bound, invalid},
    bounds,
    numbers::{float_text, is_float},
    strings,
};

/// The most characters that Python's `pprint` writes on a line.
const LINE: usize = 80;

/// The text of a value, if it is a float, or holds something that the engine writes in another way than Python; `None` otherwise.
/// What is in the value is paid for.
pub(super) fn python_text(state: &State, value: &Value) -> Result<Option<String>, Error> {
    if value.as_object().is_some() {
        let bytes = bounds::charge(state, value)?;
        if holds_other(value) {
            bounds::check_fuel_for(state, bytes)?;
            let mut text = String::new();
            write(value, &mut text);
            return Ok(Some(text));
        }
        return Ok(None);
    }
    if is_float(value) {
        return Ok(Some(float_text(f64::try_from(value.clone())?)));
    }
    Ok(None)
}

/// The value, or its text if the engine writes it in another way than Python.
pub(super) fn printable(state: &State, value: &Value) -> Result<Value, Error> {
    Ok(python_text(state, value)?.map_or_else(|| value.clone(), Value::from))
}

/// The arguments of a formatting. Numbers stay numbers; lists and maps that Python writes in another way become texts, as do
/// those among the values of `keyed` maps.
pub(super) fn formattable(state: &State, arguments: &[Value], keyed: bool) -> Result<Vec<Value>, Error> {
    let one = |value: &Value| match value.as_object() {
        Some(_) => printable(state, value),
        None => Ok(value.clone()),
    };
    let all = arguments.iter().map(|argument| {
        if argument.is_kwargs() {
            let named = Kwargs::try_from(argument.clone())?;
            let values = named.args().map(|name| Ok((name, one(&named.peek::<Value>(name)?)?)));
            return Ok(Value::from(values.collect::<Result<Kwargs, Error>>()?));
        }
        if keyed && argument.kind() == ValueKind::Map {
            let keys = argument.try_iter()?;
            let values = keys.map(|key| Ok((key.clone(), one(&argument.get_item(&key)?)?)));
            return Ok(Value::from(values.collect::<Result<BTreeMap<Value, Value>, Error>>()?));
        }
        one(argument)
    });
    all.collect()
}

/// Replaces the filters that make texts of their arguments.
pub(super) fn add_filters(environment: &mut Environment) {
    for (name, filter) in [
        ("capitalize", Value::from_function(filters::capitalize)),
        ("e", Value::from_function(escape)),
        ("escape", Value::from_function(escape)),
        ("lower", Value::from_function(filters::lower)),
        ("safe", Value::from_function(filters::safe)),
        ("string", Value::from_function(filters::string)),
        ("title", Value::from_function(filters::title)),
        ("trim", Value::from_function(filters::trim)),
        ("upper", Value::from_function(filters::upper)),
    ] {
        environment.add_filter(name, move |state: &mut State, arguments: Rest<Value>| {
            let texts = arguments.iter().map(|argument| {
                if argument.is_kwargs() {
                    Ok(argument.clone())
                } else {
                    printable(state, argument)
                }
            });
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            filter.call(state, &texts)
        });
    }
    environment.add_filter("join", join);
    environment.add_filter("pprint", pprint);
    environment.add_filter("replace", replace);
    environment.add_filter(super::source::TEXT, printable);
}

/// The filter `escape`, as markupsafe escapes for HTML. A text that is safe stays.
fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let mut text = String::new();
    for character in value.to_string().chars() {
        match character {
            '&' => text += "&amp;",
            '<' => text += "&lt;",
            '>' => text += "&gt;",
            '\'' => text += "&#39;",
            '"' => text += "&#34;",
            _ => text.push(character),
        }
    }
    Value::from_safe_string(text)
}

/// The filter `join`: the items, or an attribute of each, as texts with a text between them.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
fn join(state: &mut State, value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [between, attribute] = bound("join", ["d", "attribute"], &positional, Some(&named))?;
    let mut value = value.clone();
    if let Some(attribute) = attribute.filter(|attribute| !attribute.is_none()) {
        let attribute = Value::from(Kwargs::from_iter([("attribute", attribute)]));
        value = Value::from_function(filters::map).call(state, &[value, attribute])?;
    }
    if value.as_object().is_some() {
        let items = value.try_iter()?.map(|item| {
            state.consume_fuel(1)?;
            printable(state, &item)
        });
        value = Value::from(items.collect::<Result<Vec<_>, Error>>()?);
    }
    let mut arguments = vec![value];
    if let Some(between) = between {
        arguments.push(printable(state, &between)?);
    }
    Value::from_function(filters::join).call(state, &arguments)
}

/// The filter `replace`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
fn replace(state: &mut State, value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [old, new, count] = bound("replace", ["old", "new", "count"], &positional, Some(&named))?;
    let (Some(old), Some(new)) = (old, new) else {
        return Err(invalid("`replace` needs what is replaced, and by what"));
    };
    let text = |value: &Value| filters::string(state, &printable(state, value)?);
    let (value, mut arguments) = (text(value)?, vec![text(&old)?, text(&new)?]);
    arguments.extend(count);
    let replaced = strings::method(state, value.as_str().unwrap_or_default(), "replace", &arguments);
    replaced.unwrap_or_else(|| Err(invalid("`replace` needs a text")))
}

/// The filter `pprint`, for what Python writes on one line.
fn pprint(state: &State, value: &Value) -> Result<String, Error> {
    bounds::check_fuel_for(state, bounds::charge(state, value)?)?;
    let mut text = String::new();
    write(value, &mut text);
    if text.chars().count() > LINE || has_several_keys(value) {
        return Err(invalid(format!(
            "`pprint` is only known for maps of one key and what takes at most {LINE} characters"
        )));
    }
    Ok(text)
}

/// Whether a map of several keys is in a value: Python sorts them.
fn has_several_keys(value: &Value) -> bool {
    (value.kind() == ValueKind::Map && value.len() != Some(1) && value.len() != Some(0))
        || children(value).is_some_and(|children| children.iter().any(has_several_keys))
}

/// The values in a list or map whose items can be looked at more than once: first the keys of a map, each before its value.
fn children(value: &Value) -> Option<Vec<Value>> {
    let object = value.as_object()?;
    match object.repr() {
        ObjectRepr::Map => {
            let pairs = object.try_iter_pairs()?;
            Some(pairs.flat_map(|(key, value)| [key, value]).collect())
        }
        ObjectRepr::Seq | ObjectRepr::Iterable if object.enumerator_len().is_some() => {
            Some(object.try_iter()?.collect())
        }
        _ => None,
    }
}

/// Whether a list or map, or one in it, holds what the engine writes in another way than Python: a float, an undefined value, or
/// a text with characters that Python escapes.
fn holds_other(value: &Value) -> bool {
    let is_escaped = |text: &str| {
        text.chars()
            .any(|character| !character.is_ascii() && !is_printable(character))
    };
    is_float(value)
        || value.is_undefined()
        || value.as_str().is_some_and(is_escaped)
        || children(value).is_some_and(|children| children.iter().any(holds_other))
}

/// Writes a value as Python's `repr` does.
fn write(value: &Value, text: &mut String) {
    if is_float(value) {
        *text += &f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float_text);
        return;
    }
    if value.is_undefined() {
        *text += "Undefined";
        return;
    }
    if let Some(inside) = value.as_str() {
        return quote(inside, text);
    }
    let Some(children) = children(value) else {
        let written = format!("{value:?}");
        text.push_str(&written);
        return;
    };
    let is_map = value.kind() == ValueKind::Map;
    let (open, close) = match (is_map, value.is_tuple()) {
        (true, _) => ('{', "}"),
        (false, true) if children.len() == 1 => ('(', ",)"),
        (false, true) => ('(', ")"),
        (false, false) => ('[', "]"),
    };
    text.push(open);
    for (index, child) in children.iter().enumerate() {
        if index > 0 {
            *text += if is_map && index % 2 == 1 { ": " } else { ", " };
        }
        write(child, text);
    }
    *text += close;
}

/// Writes a text as Python's `repr` does.
fn quote(inside: &str, text: &mut String) {
    let mark = if inside.contains('\'') && !inside.contains('"') {
        '"'
    } else {
        '\''
    };
    text.push(mark);
    for character in inside.chars() {
        match character {
            '\n' => *text += "\\n",
            '\r' => *text += "\\r",
            '\t' => *text += "\\t",
            '\\' => *text += "\\\\",
            _ if character == mark => text.extend(['\\', mark]),
            _ if is_printable(character) => text.push(character),
            _ => {
                let escaped = match u32::from(character) {
                    number @ ..0x100 => format!("\\x{number:02x}"),
                    number @ 0x100..0x1_0000 => format!("\\u{number:04x}"),
                    number => format!("\\U{number:08x}"),
                };
                *text += &escaped;
            }
        }
    }
    text.push(mark);
}

/// Whether Python's `repr` writes a character as it is: it is no control, format or unassigned character, for private use, or white
/// space other than the space.
///
/// The standard library escapes the same characters, by the tables of its version of Unicode. At the beginning of a text, it also
/// escapes characters that extend others.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    let behind: String = ['a', character].into_iter().collect();
    behind.escape_debug().count() == 2
}
