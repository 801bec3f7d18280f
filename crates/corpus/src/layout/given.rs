//! A row's `tools`: what the model may call, which the chat template writes into the prompt.
//!
//! They are a list of objects, or that list as a text of JSON, as data sets store it whose tools differ in their fields.

use serde_json::{Value, from_str};

use super::Row;
use crate::{RowProblem, row_problem::kind_of};

/// The field that holds them.
pub(super) const FIELD: &str = "tools";

/// Takes the tools out of a row; `None` if it has none.
pub(super) fn tools(row: &mut Row) -> Result<Option<Value>, RowProblem> {
    let tools = match row.remove(FIELD) {
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => {
            let inner =
                from_str(&text).map_err(|_| RowProblem::wrong_type(FIELD, LIST, &Value::String(text.clone())))?;
            // The text is not part of the row's own JSON.
            let field = Row::of_json(
                [(FIELD.to_owned(), inner)].into_iter().collect(),
                &format!("{{\"{FIELD}\":{text}}}"),
            );
            field.check_integers(FIELD)?;
            field.get(FIELD).cloned()
        }
        other => other,
    };
    match tools {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(tools)) if tools.is_empty() => Ok(None),
        Some(Value::Array(tools)) => match tools.iter().position(|tool| !tool.is_object()) {
            Some(index) => Err(RowProblem::WrongType {
                field: format!("{FIELD}[{index}]"),
                expected: "an object",
                found: kind_of(&tools[index]),
            }),
            None => Ok(Some(Value::Array(tools))),
        },
        Some(other) => Err(RowProblem::wrong_type(FIELD, LIST, &other)),
    }
}

const LIST: &str = "a list of objects, or such a list as a text of JSON";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layout::tests::row;

    fn read(json: &str) -> Result<Option<Value>, String> {
        tools(&mut row(json)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn tools_are_a_list_or_its_text() {
        let expected = json!([{"type": "function", "function": {"name": "f", "n": 1.5}}]);
        let list = r#"[{"type": "function", "function": {"name": "f", "n": 1.5}}]"#;
        assert_eq!(read(&format!(r#"{{"tools": {list}}}"#)).unwrap().unwrap(), expected);
        let text = Value::from(list).to_string();
        assert_eq!(read(&format!(r#"{{"tools": {text}}}"#)).unwrap().unwrap(), expected);
        for without in [
            "{}",
            r#"{"tools": null}"#,
            r#"{"tools": []}"#,
            r#"{"tools": " "}"#,
            r#"{"tools": "[]"}"#,
        ] {
            assert_eq!(read(without).unwrap(), None, "{without}");
        }
    }

    #[test]
    fn other_tools_are_refused() {
        for (json, expected) in [
            (
                r#"{"tools": "calculator"}"#,
                "the field `tools` must be a list of objects, or such a list as a text of JSON, found a string",
            ),
            (
                r#"{"tools": {}}"#,
                "the field `tools` must be a list of objects, or such a list as a text of JSON, found an object",
            ),
            (
                r#"{"tools": [{}, 1]}"#,
                "the field `tools[1]` must be an object, found a number",
            ),
            (
                r#"{"tools": "[{\"most\": 18446744073709551616}]"}"#,
                "the field `tools` holds the integer 18446744073709551616, which has more than 64 bits",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), expected);
        }
    }
}
