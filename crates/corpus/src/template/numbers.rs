//! Numbers as Python writes and divides them.

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

/// Python's `repr` of a float: the shortest digits, with an exponent from 1e16 up and below 1e-4.
pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent
            .strip_prefix('-')
            .map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = number.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// Whether a value is a float.
pub(super) fn is_float(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}

/// The remainder of numbers, with the sign of the divisor.
pub(super) fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let failed = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number(left) || !is_number(right) {
        let (left, right) = (left.kind(), right.kind());
        return Err(failed(format!("`%` cannot be used between {left} and {right}")));
    }
    let zero = || failed("the right side of `%` is 0".to_owned());
    if is_float(left) || is_float(right) {
        let (left, right) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
        if right == 0.0 {
            return Err(zero());
        }
        let rest = left % right;
        let rest = if rest != 0.0 && (rest < 0.0) != (right < 0.0) {
            rest + right
        } else {
            rest
        };
        return Ok(Value::from(if rest == 0.0 { 0.0_f64.copysign(right) } else { rest }));
    }
    let whole = |value: &Value| match value.kind() {
        ValueKind::Bool => Ok(i128::from(value.is_true())),
        _ => i128::try_from(value.clone()),
    };
    let (left, right) = (whole(left)?, whole(right)?);
    let rest = left.checked_rem(right).ok_or_else(zero)?;
    let rest = if rest != 0 && (rest < 0) != (right < 0) {
        rest + right
    } else {
        rest
    };
    Ok(i64::try_from(rest).map_or_else(|_| Value::from(rest), Value::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (123_456.789, "123456.789"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float_text(number), text);
        }
    }

    #[test]
    fn a_remainder_has_the_sign_of_the_divisor() {
        let of = |left: Value, right: Value| remainder(&left, &right).map(|rest| rest.to_string());
        assert_eq!(of(7.into(), 3.into()).unwrap(), "1");
        assert_eq!(of((-7).into(), 3.into()).unwrap(), "2");
        assert_eq!(of(7.into(), (-3).into()).unwrap(), "-2");
        assert_eq!(of(7.5.into(), 2.into()).unwrap(), "1.5");
        assert_eq!(of((-7.5).into(), 2.into()).unwrap(), "0.5");
        assert_eq!(of(true.into(), 2.into()).unwrap(), "1");
        assert!(of(1.into(), 0.into()).is_err());
        assert!(of(1.0.into(), 0.0.into()).is_err());
        assert!(of("a".into(), 1.into()).is_err());
    }
}
