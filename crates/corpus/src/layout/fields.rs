//! Reads a row's fields by name, with errors that name the field.

use serde_json::Value;

use super::Row;
use crate::RowProblem;

/// The text of a field; `None` if it is null or absent.
pub(super) fn string_of<'a>(row: &'a Row, name: &str) -> Result<Option<&'a str>, RowProblem> {
    match row.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(RowProblem::wrong_type(name, "a string", other)),
    }
}

/// Takes the list of a required field out of a row.
pub(super) fn required_list(row: &mut Row, name: &str) -> Result<Vec<Value>, RowProblem> {
    match row.remove(name) {
        Some(Value::Array(list)) => not_empty(list, name),
        Some(other) => Err(RowProblem::wrong_type(name, "a list", &other)),
        None => Err(RowProblem::missing(name)),
    }
}

/// A list that must have an element.
pub(super) fn not_empty(list: Vec<Value>, name: &str) -> Result<Vec<Value>, RowProblem> {
    if list.is_empty() {
        return Err(RowProblem::EmptyField { field: name.to_owned() });
    }
    Ok(list)
}

/// A text that must have a character other than white space.
pub(super) fn not_blank<T: AsRef<str>>(text: T, name: &str) -> Result<T, RowProblem> {
    if text.as_ref().trim().is_empty() {
        return Err(RowProblem::EmptyField { field: name.to_owned() });
    }
    Ok(text)
}

/// The text of a required field.
pub(super) fn required_string<'a>(row: &'a Row, name: &str) -> Result<&'a str, RowProblem> {
    match row.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(RowProblem::wrong_type(name, "a string", other)),
        None => Err(RowProblem::missing(name)),
    }
}
