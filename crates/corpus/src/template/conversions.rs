//! The filters `int` and `float`: Python's `int` and `float`, with a default for what is no number.

use minijinja::{
    Error, Value,
    value::{Kwargs, Rest, ValueKind},
};

use super::{
    arguments::{bound, invalid},
    numbers::is_float,
};

/// The filter `int`. A text that is no whole number may be a float, whose integer part counts.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn int(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default, base] = bound("int", ["default", "base"], &positional, Some(&named))?;
    let default = default.unwrap_or_else(|| Value::from(0));
    if let Some(text) = value.as_str() {
        check_digits("int", text)?;
        let base = base.map_or(Some(10), |base| u32::try_from(base).ok());
        if let Some(number) = base.map(|base| whole(text.trim(), base)).transpose()?.flatten() {
            return Ok(number);
        }
        return match float_of(text) {
            Some(number) if number.is_finite() => integer_part(number),
            _ => Ok(default),
        };
    }
    match value.kind() {
        ValueKind::Undefined => Err(undefined("int")),
        ValueKind::Bool => Ok(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if is_float(value) => match f64::try_from(value.clone())? {
            number if number.is_nan() => Ok(default),
            number => integer_part(number),
        },
        ValueKind::Number => Ok(value.clone()),
        _ => Ok(default),
    }
}

/// The filter `float`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
pub(super) fn float(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default] = bound("float", ["default"], &positional, Some(&named))?;
    let default = default.unwrap_or_else(|| Value::from(0.0));
    if let Some(text) = value.as_str() {
        check_digits("float", text)?;
        return Ok(float_of(text).map_or(default, Value::from));
    }
    match value.kind() {
        ValueKind::Undefined => Err(undefined("float")),
        ValueKind::Bool => Ok(Value::from(f64::from(u8::from(value.is_true())))),
        ValueKind::Number if is_float(value) => Ok(value.clone()),
        ValueKind::Number => Ok(Value::from(i128::try_from(value.clone())? as f64)),
        _ => Ok(default),
    }
}

fn undefined(filter: &str) -> Error {
    invalid(format!("`{filter}` needs a value, and this one is undefined"))
}

/// Python reads digits of all scripts. The table of them is not here.
fn check_digits(filter: &str, text: &str) -> Result<(), Error> {
    let is_other_digit = |character: char| !character.is_ascii() && character.is_numeric();
    if text.contains(is_other_digit) {
        return Err(invalid(format!("`{filter}` is only known for numbers in ASCII")));
    }
    Ok(())
}

/// The whole number that is written in a base, or in the base that its prefix tells if `base` is 0; `None` if there is none.
///
/// # Errors
///
/// A number of more than 128 bits.
fn whole(text: &str, base: u32) -> Result<Option<Value>, Error> {
    let (is_negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = unsigned.get(..2).unwrap_or_default().to_ascii_lowercase();
    let prefix_base = [("0b", 2), ("0o", 8), ("0x", 16)];
    let told = prefix_base
        .iter()
        .find(|(known, of)| *known == prefix && [0, *of].contains(&base));
    let (base, digits) = match (told, base) {
        (Some((_, told)), _) => (*told, unsigned[2..].strip_prefix('_').unwrap_or(&unsigned[2..])),
        // Without a prefix, only zero begins with a zero.
        (None, 0) if unsigned.starts_with('0') && !unsigned.bytes().all(|byte| [b'0', b'_'].contains(&byte)) => {
            return Ok(None);
        }
        (None, 0) => (10, unsigned),
        (None, 2..=36) => (base, unsigned),
        _ => return Ok(None),
    };
    let Some(digits) = without_underscores(digits, |character| character.is_digit(base)) else {
        return Ok(None);
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Ok(None);
    }
    let sign = if is_negative { "-" } else { "" };
    let number = i128::from_str_radix(&format!("{sign}{digits}"), base);
    number.map(|number| Some(value_of(number))).map_err(|_| large())
}

/// The float that a text is; `None` if it is none.
fn float_of(text: &str) -> Option<f64> {
    without_underscores(text.trim(), |character| character.is_ascii_digit())?
        .parse()
        .ok()
}

/// The text without the underscores between two digits; `None` if there are others.
fn without_underscores(text: &str, is_digit: impl Fn(char) -> bool) -> Option<String> {
    let mut parts = text.split('_').peekable();
    let mut all = String::with_capacity(text.len());
    while let Some(part) = parts.next() {
        all += part;
        if let Some(next) = parts.peek()
            && !(part.ends_with(&is_digit) && next.starts_with(&is_digit))
        {
            return None;
        }
    }
    Some(all)
}

fn integer_part(number: f64) -> Result<Value, Error> {
    // 2¹²⁷, beyond which a value holds no integer.
    let bound = 2_f64.powi(127);
    if number.is_infinite() || number.abs() >= bound {
        return Err(large());
    }
    Ok(value_of(number as i128))
}

fn large() -> Error {
    invalid("`int` gives an integer of more than 128 bits")
}

fn value_of(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)
}
