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

/// The text of a required field.
pub(super) fn required_string<'a>(row: &'a Row, name: &str) -> Result<&'a str, RowProblem> {
    match row.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(RowProblem::wrong_type(name, "a string", other)),
        None => Err(RowProblem::missing(name)),
    }
}
