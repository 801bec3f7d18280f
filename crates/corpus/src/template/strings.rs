//! The methods of Python's texts. Places in a text count characters.

use minijinja::{
    Error, State, Value,
    value::{Tuple, ValueKind},
};

use super::{
    arguments::{bound_of_method, invalid, number_or_none, text, text_or_none},
    bounds::pay_for,
};

/// The result of a method; `None` if it is not among those here.
pub(super) fn method(state: &State, value: &str, name: &str, given: &[Value]) -> Option<Result<Value, Error>> {
    Some(match name {
        "find" | "rfind" | "index" | "rindex" | "count" => found(value, name, given),
        "startswith" | "endswith" => matches_edge(value, name, given),
        "partition" | "rpartition" => parted(value, name, given),
        "removeprefix" | "removesuffix" => without_edge(value, name, given),
        "split" | "rsplit" => split(value, name, given),
        "splitlines" => lines(value, given),
        "strip" | "lstrip" | "rstrip" => stripped(value, name, given),
        "replace" => replaced(state, value, given),
        "join" => joined(state, value, given),
        "ljust" | "rjust" | "center" | "zfill" => padded(state, value, name, given),
        "expandtabs" => expanded(state, value, given),
        "upper" | "lower" | "casefold" | "swapcase" | "title" | "capitalize" => recased(value, name, given),
        _ if name.starts_with("is") => return is(value, name, given),
        _ => return None,
    })
}

/// Python's white space: Unicode's and four separators of ASCII.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn list(parts: impl IntoIterator<Item = impl Into<Value>>) -> Value {
    Value::from(parts.into_iter().map(Into::into).collect::<Vec<Value>>())
}

/// The part of a text from one place to another, as Python slices, and the place where it begins; `None` if that is beyond its
/// end.
fn sliced(value: &str, start: Option<i64>, end: Option<i64>) -> Option<(&str, usize)> {
    let count = value.chars().count();
    let place = |at: i64| {
        let at = if at < 0 {
            at.saturating_add(count as i64).max(0)
        } else {
            at
        };
        usize::try_from(at).unwrap_or_default()
    };
    let (start, end) = (start.map_or(0, place), end.map_or(count, place).min(count));
    if start > count || start > end {
        return None;
    }
    let byte = |place: usize| value.char_indices().nth(place).map_or(value.len(), |(byte, _)| byte);
    Some((&value[byte(start)..byte(end)], start))
}

fn found(value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [wanted, start, end] = bound_of_method(name, ["sub", "start", "end"], given)?;
    let wanted = text(name, wanted.as_ref())?;
    let part = sliced(value, number_or_none(name, start)?, number_or_none(name, end)?);
    if name == "count" {
        return Ok(Value::from(part.map_or(0, |(part, _)| part.matches(wanted).count())));
    }
    let place = part.and_then(|(part, start)| {
        let byte = if name.starts_with('r') {
            part.rfind(wanted)
        } else {
            part.find(wanted)
        };
        Some(start + part[..byte?].chars().count())
    });
    match place {
        Some(place) => Ok(Value::from(place)),
        None if name.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid(format!("`{name}` finds no `{wanted}`"))),
    }
}

fn matches_edge(value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [edges, start, end] = bound_of_method(name, ["prefix", "start", "end"], given)?;
    let part = sliced(value, number_or_none(name, start)?, number_or_none(name, end)?);
    let matches = |edge: &Value| {
        let edge = edge.as_str().ok_or_else(|| invalid(format!("`{name}` needs texts")))?;
        Ok(part.is_some_and(|(part, _)| {
            if name == "startswith" {
                part.starts_with(edge)
            } else {
                part.ends_with(edge)
            }
        }))
    };
    match edges {
        Some(edges) if edges.kind() == ValueKind::Seq => {
            for edge in edges.try_iter()? {
                if matches(&edge)? {
                    return Ok(Value::from(true));
                }
            }
            Ok(Value::from(false))
        }
        Some(edge) => matches(&edge).map(Value::from),
        None => Err(invalid(format!("`{name}` needs a text"))),
    }
}

fn parted(value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [separator] = bound_of_method(name, ["sep"], given)?;
    let separator = text(name, separator.as_ref())?;
    if separator.is_empty() {
        return Err(invalid(format!("`{name}` needs a separator that is not empty")));
    }
    let parts = if name == "partition" {
        let parts = value.split_once(separator);
        parts.map_or([value, "", ""], |(before, after)| [before, separator, after])
    } else {
        let parts = value.rsplit_once(separator);
        parts.map_or(["", "", value], |(before, after)| [before, separator, after])
    };
    Ok(Value::from(Tuple::new(parts.into_iter().map(Value::from).collect())))
}

fn without_edge(value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [edge] = bound_of_method(name, ["edge"], given)?;
    let edge = text(name, edge.as_ref())?;
    let rest = if name == "removeprefix" {
        value.strip_prefix(edge)
    } else {
        value.strip_suffix(edge)
    };
    Ok(Value::from(rest.unwrap_or(value)))
}

fn split(value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [separator, most] = bound_of_method(name, ["sep", "maxsplit"], given)?;
    let most = number_or_none(name, most)?.and_then(|most| usize::try_from(most).ok());
    let from_end = name == "rsplit";
    let Some(separator) = text_or_none(name, separator.as_ref())? else {
        return Ok(list(split_at_space(value, most.unwrap_or(usize::MAX), from_end)));
    };
    if separator.is_empty() {
        return Err(invalid(format!("`{name}` needs a separator that is not empty")));
    }
    let count = most.map_or(usize::MAX, |most| most.saturating_add(1));
    if from_end {
        let mut parts: Vec<&str> = value.rsplitn(count, separator).collect();
        parts.reverse();
        return Ok(list(parts));
    }
    Ok(list(value.splitn(count, separator)))
}

/// The words of a text, of which at most `most` are split off.
fn split_at_space(value: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_end {
        value.trim_end_matches(is_space)
    } else {
        value.trim_start_matches(is_space)
    };
    while !rest.is_empty() {
        if parts.len() == most {
            // What remains keeps the white space at its other end.
            parts.push(rest);
            break;
        }
        if from_end {
            let start = rest.char_indices().rev().find(|&(_, character)| is_space(character));
            let start = start.map_or(0, |(byte, character)| byte + character.len_utf8());
            parts.push(&rest[start..]);
            rest = rest[..start].trim_end_matches(is_space);
        } else {
            let end = rest.find(is_space).unwrap_or(rest.len());
            parts.push(&rest[..end]);
            rest = rest[end..].trim_start_matches(is_space);
        }
    }
    if from_end {
        parts.reverse();
    }
    parts
}

fn lines(value: &str, given: &[Value]) -> Result<Value, Error> {
    let [keep_ends] = bound_of_method("splitlines", ["keepends"], given)?;
    Ok(list(lines_of(value, keep_ends.is_some_and(|keep| keep.is_true()))))
}

/// The lines of a text, with or without their ends.
pub(super) fn lines_of(value: &str, keep_ends: bool) -> Vec<&str> {
    let ends_line = |character: char| {
        matches!(
            character,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut parts, mut rest) = (Vec::new(), value);
    while !rest.is_empty() {
        let Some((end, character)) = rest.char_indices().find(|&(_, character)| ends_line(character)) else {
            parts.push(rest);
            break;
        };
        let width = if rest[end..].starts_with("\r\n") {
            2
        } else {
            character.len_utf8()
        };
        parts.push(&rest[..if keep_ends { end + width } else { end }]);
        rest = &rest[end + width..];
    }
    parts
}

fn stripped(value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [characters] = bound_of_method(name, ["chars"], given)?;
    let characters = text_or_none(name, characters.as_ref())?;
    let goes = |character: char| characters.map_or_else(|| is_space(character), |all| all.contains(character));
    Ok(Value::from(match name {
        "strip" => value.trim_matches(goes),
        "lstrip" => value.trim_start_matches(goes),
        _ => value.trim_end_matches(goes),
    }))
}

fn replaced(state: &State, value: &str, given: &[Value]) -> Result<Value, Error> {
    let [old, new, count] = bound_of_method("replace", ["old", "new", "count"], given)?;
    let (old, new) = (text("replace", old.as_ref())?, text("replace", new.as_ref())?);
    let count = number_or_none("replace", count)?.and_then(|count| usize::try_from(count).ok());
    let times = value.matches(old).count().min(count.unwrap_or(usize::MAX));
    pay_for(state, times.saturating_mul(new.len()))?;
    Ok(Value::from(value.replacen(old, new, times)))
}

fn joined(state: &State, value: &str, given: &[Value]) -> Result<Value, Error> {
    let [parts] = bound_of_method("join", ["iterable"], given)?;
    let parts = parts.ok_or_else(|| invalid("`join` needs a list"))?;
    pay_for(state, parts.len().unwrap_or(0).saturating_mul(value.len()))?;
    let mut all = String::new();
    for (index, part) in parts.try_iter()?.enumerate() {
        let part = part
            .as_str()
            .ok_or_else(|| invalid("`join` needs a list of texts"))?
            .to_owned();
        pay_for(state, part.len())?;
        if index > 0 {
            all += value;
        }
        all += &part;
    }
    Ok(Value::from(all))
}

fn padded(state: &State, value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [width, fill] = bound_of_method(name, ["width", "fillchar"], given)?;
    let width = number_or_none(name, width)?.ok_or_else(|| invalid(format!("`{name}` needs a width")))?;
    let mut fill = text_or_none(name, fill.as_ref())?.unwrap_or(" ");
    if name == "zfill" {
        fill = "0";
    }
    if fill.chars().count() != 1 {
        return Err(invalid(format!("`{name}` fills with one character")));
    }
    let count = value.chars().count();
    let width = usize::try_from(width).unwrap_or_default();
    let missing = width.saturating_sub(count);
    pay_for(state, missing.saturating_mul(fill.len()))?;
    // As CPython divides an odd number.
    let left = missing / 2 + (missing & width & 1);
    Ok(Value::from(match name {
        "ljust" => format!("{value}{}", fill.repeat(missing)),
        "rjust" => format!("{}{value}", fill.repeat(missing)),
        "center" => format!("{}{value}{}", fill.repeat(left), fill.repeat(missing - left)),
        _ => {
            let digits = value.trim_start_matches(['+', '-']);
            let sign = if value.len() - digits.len() >= 1 {
                &value[..1]
            } else {
                ""
            };
            format!("{sign}{}{}", fill.repeat(missing), &value[sign.len()..])
        }
    }))
}

fn expanded(state: &State, value: &str, given: &[Value]) -> Result<Value, Error> {
    let [size] = bound_of_method("expandtabs", ["tabsize"], given)?;
    let size = number_or_none("expandtabs", size)?.unwrap_or(8);
    let size = usize::try_from(size).unwrap_or_default();
    pay_for(state, value.matches('\t').count().saturating_mul(size))?;
    let (mut all, mut column) = (String::new(), 0);
    for character in value.chars() {
        match character {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                all += &" ".repeat(spaces);
                column += spaces;
            }
            '\t' => {}
            _ => {
                all.push(character);
                column = if matches!(character, '\n' | '\r') {
                    0
                } else {
                    column + 1
                };
            }
        }
    }
    Ok(Value::from(all))
}

fn recased(value: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let [] = bound_of_method(name, [], given)?;
    Ok(Value::from(match name {
        "upper" => value.to_uppercase(),
        "lower" => value.to_lowercase(),
        "casefold" if value.is_ascii() => value.to_ascii_lowercase(),
        "casefold" => return Err(invalid("`casefold` is only known for ASCII")),
        "swapcase" => value.chars().flat_map(swapped).collect(),
        "capitalize" => {
            let mut characters = value.chars();
            let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
            first + &characters.as_str().to_lowercase()
        }
        _ => {
            let mut after_cased = false;
            let mut all = String::new();
            for character in value.chars() {
                if after_cased {
                    all.extend(character.to_lowercase());
                } else {
                    all.extend(character.to_uppercase());
                }
                after_cased = character.is_lowercase() || character.is_uppercase();
            }
            all
        }
    }))
}

fn swapped(character: char) -> Vec<char> {
    if character.is_uppercase() {
        character.to_lowercase().collect()
    } else {
        character.to_uppercase().collect()
    }
}

/// The methods that answer yes or no.
fn is(value: &str, name: &str, given: &[Value]) -> Option<Result<Value, Error>> {
    let all = |is: fn(char) -> bool| !value.is_empty() && value.chars().all(is);
    let cased =
        |is: fn(&str) -> String| value.chars().any(|c| c.is_lowercase() || c.is_uppercase()) && is(value) == value;
    // Which characters beyond ASCII are digits is a table that is not here.
    let is_number = |name: &str| {
        if value
            .chars()
            .any(|character| !character.is_ascii() && character.is_numeric())
        {
            return Err(invalid(format!("`{name}` is only known for numbers in ASCII")));
        }
        Ok(all(|character| character.is_ascii_digit()))
    };
    let answer = match name {
        "isdigit" | "isnumeric" | "isdecimal" => is_number(name),
        "isspace" => Ok(all(is_space)),
        "isalpha" => Ok(all(char::is_alphabetic)),
        "isalnum" => Ok(all(char::is_alphanumeric)),
        "isascii" => Ok(value.is_ascii()),
        "islower" => Ok(cased(str::to_lowercase)),
        "isupper" => Ok(cased(str::to_uppercase)),
        "istitle" => recased(value, "title", &[]).map(|title| cased(str::to_owned) && title.as_str() == Some(value)),
        _ => return None,
    };
    let no_arguments = bound_of_method::<0>(name, [], given);
    Some(no_arguments.and(answer).map(Value::from))
}
