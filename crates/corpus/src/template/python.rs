//! The functions, filters and methods of Python and transformers that chat templates use.

use minijinja::{
    Error, ErrorKind, State, Value,
    formatting::{self, FormatStyle},
    value::{Kwargs, Rest, ValueKind},
};
use minijinja_contrib::pycompat;

use super::{
    arguments::{bound, bound_of_method, invalid, number_or_none},
    bounds,
    numbers::remainder,
    printing, strings,
};

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
        if let Some(result) = strings::method(state, text, name, arguments) {
            return result;
        }
        if name == "format" {
            let bytes = formatted_bytes(state, '{', text, arguments)?;
            bounds::pay_for(state, bytes)?;
            // A part of an argument is looked up in the argument itself.
            if !has_paths(text) {
                let arguments = printing::formattable(state, arguments, false)?;
                return pycompat::unknown_method_callback(state, value, name, &arguments);
            }
        }
    }
    let is_list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    match name {
        "index" if is_list => index_in(value, arguments),
        "copy" if is_list || value.kind() == ValueKind::Map => {
            let [] = bound_of_method(name, [], arguments)?;
            Ok(value.clone())
        }
        _ => pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

/// The place of an item in a list.
fn index_in(list: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let [wanted] = bound_of_method("index", ["value"], arguments)?;
    let wanted = wanted.ok_or_else(|| invalid("`index` needs a value"))?;
    let place = list.try_iter()?.position(|item| item == wanted);
    place
        .map(Value::from)
        .ok_or_else(|| invalid("`index` does not find the value in the list"))
}

/// The operator `%`: formats a text, or gives the remainder of numbers.
pub(super) fn modulo(state: &State, left: &Value, right: &Value) -> Result<Value, Error> {
    let Some(text) = left.as_str() else {
        return remainder(left, right);
    };
    let arguments: Vec<Value> = if right.is_tuple() {
        right.try_iter()?.collect()
    } else {
        vec![right.clone()]
    };
    // Python lets lists and maps be left over.
    let may_stay = !right.is_tuple() && matches!(right.kind(), ValueKind::Map | ValueKind::Seq);
    if !may_stay && arguments.len() > places(text) {
        return Err(invalid(format!(
            "`{text}` has fewer places than values are given to `%`"
        )));
    }
    bounds::pay_for(state, formatted_bytes(state, '%', text, &arguments)?)?;
    let arguments = printing::formattable(state, &arguments, text.contains("%("))?;
    let formatted = formatting::format(FormatStyle::Printf, text, &arguments)?;
    Ok(Value::from(formatted))
}

/// Whether a field of a text names a part of its argument, as `{0.name}` and `{0[1]}` do.
fn has_paths(text: &str) -> bool {
    let mut fields = text.split('{').skip(1);
    fields.any(|field| {
        let end = field.find(['}', ':', '!']).unwrap_or(field.len());
        field[..end].contains(['.', '['])
    })
}

/// How many values the text takes: one for each `%` that is no `%%`, and one for each width that is `*`.
fn places(text: &str) -> usize {
    let mut rest = text;
    let mut count = 0;
    while let Some(start) = rest.find('%') {
        let specification = &rest[start + 1..];
        let end = specification
            .find(|c: char| c.is_ascii_alphabetic() || c == '%')
            .unwrap_or(specification.len());
        count += specification[..end].matches('*').count();
        count += usize::from(!specification[end..].starts_with('%'));
        rest = specification.get(end + 1..).unwrap_or_default();
    }
    count
}

/// The filter `indent`: puts white space before every line but the first.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn indent(state: &State, value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let names = ["width", "first", "blank"];
    let [width, first, blank] = bound("indent", names, &positional, Some(&named))?;
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (first, blank) = (is_true(first), is_true(blank));
    let (text, width) = match (value.as_str(), width) {
        (None, _) => return Err(invalid("`indent` needs a text")),
        (Some(text), Some(width)) if width.as_str().is_some() => (text, width.as_str().unwrap_or_default().to_owned()),
        (Some(text), width) => {
            let width = number_or_none("indent", width)?.unwrap_or(4);
            let width = usize::try_from(width).unwrap_or_default();
            bounds::pay_for(state, width)?;
            (text, " ".repeat(width))
        }
    };
    // As Jinja2 does it: a line end is added, and the last line has none.
    let text = format!("{text}\n");
    let lines = strings::lines_of(&text, false);
    bounds::pay_for(state, width.len().saturating_mul(lines.len()))?;
    let mut indented = String::new();
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        if is_indented {
            indented += &width;
        }
        indented += line;
    }
    Ok(Value::from(indented))
}

/// The filter `format`, Python's `%`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn format(state: &State, text: &str, arguments: Rest<Value>) -> Result<String, Error> {
    bounds::pay_for(state, formatted_bytes(state, '%', text, &arguments)?)?;
    let arguments = printing::formattable(state, &arguments, text.contains("%("))?;
    formatting::format(FormatStyle::Printf, text, &arguments)
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
}
