//! What a row gives to the chat template beside its turns: `tools`, `documents` and `chat_template_kwargs`, by the names that
//! transformers and TRL have for them.
//!
//! Each is a value of JSON, or that value as a text, as data sets store it whose rows differ in its fields.

use serde_json::{Map, Value, from_str};

use super::Row;
use crate::{Given, RowProblem, row_problem::kind_of, template::SET_BY_RENDERING};

/// The field with what the model may call.
pub(super) const TOOLS: &str = "tools";
const DOCUMENTS: &str = "documents";
const ARGUMENTS: &str = "chat_template_kwargs";

/// The fields that are read here.
pub(super) const FIELDS: [&str; 3] = [TOOLS, DOCUMENTS, ARGUMENTS];

const LIST: &str = "a list of objects, or such a list as a text of JSON";
const OBJECT: &str = "an object, or an object as a text of JSON";

/// Takes those of `fields` out of a row.
pub(super) fn given(row: &mut Row, fields: &[&str]) -> Result<Given, RowProblem> {
    let mut of = |name: &'static str, read: fn(&mut Row, &'static str) -> Result<Option<Value>, RowProblem>| {
        if fields.contains(&name) {
            read(row, name)
        } else {
            Ok(None)
        }
    };
    let (tools, documents) = (of(TOOLS, list)?, of(DOCUMENTS, list)?);
    let arguments = match of(ARGUMENTS, value)? {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(other) => return Err(RowProblem::wrong_type(ARGUMENTS, OBJECT, &other)),
    };
    if let Some(name) = arguments.keys().find(|name| SET_BY_RENDERING.contains(&name.as_str())) {
        return Err(RowProblem::ReservedArgument {
            field: ARGUMENTS.to_owned(),
            name: name.clone(),
        });
    }
    Ok(Given {
        tools,
        documents,
        arguments,
    })
}

/// Takes a list of objects out of a row; `None` if it has none.
fn list(row: &mut Row, name: &'static str) -> Result<Option<Value>, RowProblem> {
    match value(row, name)? {
        None => Ok(None),
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(Value::Array(list)) => match list.iter().position(|one| !one.is_object()) {
            Some(index) => Err(RowProblem::WrongType {
                field: format!("{name}[{index}]"),
                expected: "an object",
                found: kind_of(&list[index]),
            }),
            None => Ok(Some(Value::Array(list))),
        },
        Some(other) => Err(RowProblem::wrong_type(name, LIST, &other)),
    }
}

/// Takes a value out of a row; `None` if there is none, or null.
fn value(row: &mut Row, name: &'static str) -> Result<Option<Value>, RowProblem> {
    let value = match row.remove(name) {
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => {
            let expected = if name == ARGUMENTS { OBJECT } else { LIST };
            let inner =
                from_str(&text).map_err(|_| RowProblem::wrong_type(name, expected, &Value::String(text.clone())))?;
            // The text is not part of the row's own JSON.
            let field = Row::of_json(
                [(name.to_owned(), inner)].into_iter().collect(),
                &format!("{{\"{name}\":{text}}}"),
            );
            field.check_integers(name)?;
            field.get(name).cloned()
        }
        other => other,
    };
    Ok(value.filter(|value| !value.is_null()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layout::tests::row;

    fn read(json: &str) -> Result<Given, String> {
        given(&mut row(json), &FIELDS).map_err(|problem| problem.to_string())
    }

    #[test]
    fn tools_and_documents_are_a_list_or_its_text() {
        let expected = json!([{"type": "function", "function": {"name": "f", "n": 1.5}}]);
        let list = r#"[{"type": "function", "function": {"name": "f", "n": 1.5}}]"#;
        let text = Value::from(list).to_string();
        for value in [list, &text] {
            let tools = read(&format!(r#"{{"tools": {value}}}"#)).unwrap();
            assert_eq!((tools.tools.unwrap(), tools.documents), (expected.clone(), None));
            let documents = read(&format!(r#"{{"documents": {value}}}"#)).unwrap();
            assert_eq!(
                (documents.documents.unwrap(), documents.tools),
                (expected.clone(), None)
            );
        }
        for without in ["null", "[]", r#"" ""#, r#""[]""#] {
            let json = format!(r#"{{"tools": {without}, "documents": {without}}}"#);
            assert_eq!(read(&json).unwrap(), Given::default(), "{without}");
        }
        assert_eq!(read("{}").unwrap(), Given::default());
        // Only the fields that are asked for.
        let all = r#"{"tools": [{}], "documents": 1, "chat_template_kwargs": 1}"#;
        assert!(given(&mut row(all), &[TOOLS]).unwrap().tools.is_some());
        assert_eq!(given(&mut row(all), &[]).unwrap(), Given::default());
    }

    #[test]
    fn values_for_the_template_are_an_object_or_its_text() {
        for value in [r#"{"enable_thinking": false}"#, r#""{\"enable_thinking\": false}""#] {
            let arguments = read(&format!(r#"{{"chat_template_kwargs": {value}}}"#))
                .unwrap()
                .arguments;
            assert_eq!(Value::Object(arguments), json!({"enable_thinking": false}));
        }
        for without in ["null", "{}", r#""""#] {
            let json = format!(r#"{{"chat_template_kwargs": {without}}}"#);
            assert_eq!(read(&json).unwrap(), Given::default(), "{without}");
        }
    }

    #[test]
    fn other_values_are_refused() {
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
            (
                r#"{"documents": ["d"]}"#,
                "the field `documents[0]` must be an object, found a string",
            ),
            (
                r#"{"chat_template_kwargs": [1]}"#,
                "the field `chat_template_kwargs` must be an object, or an object as a text of JSON, found a list",
            ),
            (
                r#"{"chat_template_kwargs": {"tools": []}}"#,
                "the field `chat_template_kwargs` sets `tools`, which the template is given from elsewhere",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), expected);
        }
    }
}
