//! Arguments of Python's functions, which may be given by place or by name.

use minijinja::{Error, ErrorKind, Value, value::Kwargs};

/// The value of each name; `None` if it is not given. None (`none`) counts as a value.
///
/// # Errors
///
/// Too many arguments, an unknown name, and an argument that is given twice.
pub(super) fn bound<const N: usize>(
    function: &str,
    names: [&str; N],
    positional: &[Value],
    named: Option<&Kwargs>,
) -> Result<[Option<Value>; N], Error> {
    let wrong = |problem: String| {
        Err(Error::new(
            ErrorKind::TooManyArguments,
            format!("`{function}` {problem}"),
        ))
    };
    if positional.len() > N {
        return wrong(format!("takes at most {N} arguments, not {}", positional.len()));
    }
    let mut values: [Option<Value>; N] = std::array::from_fn(|index| positional.get(index).cloned());
    for name in named.into_iter().flat_map(Kwargs::args) {
        match names.iter().position(|known| *known == name) {
            Some(index) if values[index].is_none() => {
                values[index] = named.map(|named| named.peek(name)).transpose()?;
            }
            Some(_) => return wrong(format!("is given `{name}` twice")),
            None => return wrong(format!("has no argument `{name}`")),
        }
    }
    Ok(values)
}

/// The same for a method, whose last argument holds those that are given by name.
///
/// # Errors
///
/// Those of [`bound`].
pub(super) fn bound_of_method<const N: usize>(
    method: &str,
    names: [&str; N],
    given: &[Value],
) -> Result<[Option<Value>; N], Error> {
    match given.split_last() {
        Some((last, before)) if last.is_kwargs() => {
            bound(method, names, before, Some(&Kwargs::try_from(last.clone())?))
        }
        _ => bound(method, names, given, None),
    }
}

/// The text of an argument that must be one.
pub(super) fn text<'a>(function: &str, argument: Option<&'a Value>) -> Result<&'a str, Error> {
    let text = argument.and_then(Value::as_str);
    text.ok_or_else(|| invalid(format!("`{function}` needs a text")))
}

/// The text of an argument that may be missing or none.
pub(super) fn text_or_none<'a>(function: &str, argument: Option<&'a Value>) -> Result<Option<&'a str>, Error> {
    match argument {
        Some(value) if !value.is_none() => text(function, argument).map(Some),
        _ => Ok(None),
    }
}

/// The number of an argument that may be missing or none.
pub(super) fn number_or_none(function: &str, argument: Option<Value>) -> Result<Option<i64>, Error> {
    match argument {
        Some(value) if !value.is_none() => {
            let number = i64::try_from(value).map_err(|_| invalid(format!("`{function}` needs a whole number")))?;
            Ok(Some(number))
        }
        _ => Ok(None),
    }
}

pub(super) fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}
