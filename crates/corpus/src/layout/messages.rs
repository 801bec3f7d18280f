//! The `messages` layout: `OpenAI`'s chat format, one conversation a row.

use serde_json::Value;

use super::{Layout, Row};
use crate::{Message, Role, RowProblem, row_problem::kind_of};

pub(super) const LAYOUT: Layout = Layout {
    fields: |_| vec!["messages"],
    conversation: |row, _| conversation(row),
};

fn conversation(row: Row) -> Result<Vec<Message>, RowProblem> {
    let messages = messages(row)?;
    match messages.last() {
        Some(last) if last.role != Role::Assistant => Err(RowProblem::LastMessageNotAssistant {
            role: last.role.as_str(),
        }),
        _ => Ok(messages),
    }
}

/// The turns of a row, at least one. The last may be of any role.
pub(super) fn messages(mut row: Row) -> Result<Vec<Message>, RowProblem> {
    let field = || "messages".to_owned();
    let messages = match row.remove("messages") {
        Some(Value::Array(messages)) => messages,
        Some(other) => {
            return Err(RowProblem::WrongType {
                field: field(),
                expected: "a list",
                found: kind_of(&other),
            });
        }
        None => return Err(RowProblem::MissingField { field: field() }),
    };
    let messages = messages
        .into_iter()
        .enumerate()
        .map(|(index, value)| message(value, &format!("messages[{index}]")))
        .collect::<Result<Vec<_>, _>>()?;
    if messages.is_empty() {
        return Err(RowProblem::EmptyField { field: field() });
    }
    Ok(messages)
}

pub(super) fn message(value: Value, path: &str) -> Result<Message, RowProblem> {
    let wrong = |field: String, expected, value: &Value| RowProblem::WrongType {
        field,
        expected,
        found: kind_of(value),
    };
    let Value::Object(mut fields) = value else {
        return Err(wrong(path.to_owned(), "an object", &value));
    };
    let field = format!("{path}.role");
    let role = match fields.remove("role") {
        None => return Err(RowProblem::MissingField { field }),
        Some(Value::String(name)) => Role::from_name(&name).ok_or(RowProblem::UnknownRole { field, role: name })?,
        Some(other) => return Err(wrong(field, "a string", &other)),
    };
    let calls_tools = fields.get("tool_calls").is_some_and(|calls| !calls.is_null());
    let field = format!("{path}.content");
    let content = match fields.remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => text_of_parts(&parts, &field)?,
        // A turn that only calls tools has no content in this format.
        None | Some(Value::Null) if calls_tools => String::new(),
        None => return Err(RowProblem::MissingField { field }),
        Some(other) => return Err(wrong(field, "a string or a list of text parts", &other)),
    };
    let reasoning_content = match fields.remove("reasoning_content") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => return Err(wrong(format!("{path}.reasoning_content"), "a string", &other)),
    };
    Ok(Message {
        role,
        content,
        reasoning_content,
        other: fields,
    })
}

/// The joined texts of a list of {type: "text", text}.
fn text_of_parts(parts: &[Value], field: &str) -> Result<String, RowProblem> {
    let mut content = String::new();
    for (index, part) in parts.iter().enumerate() {
        let field = |name: &str| format!("{field}[{index}]{name}");
        let Value::Object(part) = part else {
            return Err(RowProblem::WrongType {
                field: field(""),
                expected: "an object",
                found: kind_of(part),
            });
        };
        match part.get("type") {
            Some(Value::String(kind)) if kind == "text" => {}
            Some(Value::String(kind)) => {
                return Err(RowProblem::NotText {
                    field: field(""),
                    kind: kind.clone(),
                });
            }
            Some(other) => {
                return Err(RowProblem::WrongType {
                    field: field(".type"),
                    expected: "a string",
                    found: kind_of(other),
                });
            }
            None => return Err(RowProblem::MissingField { field: field(".type") }),
        }
        match part.get("text") {
            Some(Value::String(text)) => content += text,
            Some(other) => {
                return Err(RowProblem::WrongType {
                    field: field(".text"),
                    expected: "a string",
                    found: kind_of(other),
                });
            }
            None => return Err(RowProblem::MissingField { field: field(".text") }),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<Message>, String> {
        let Value::Object(row) = serde_json::from_str(json).unwrap() else {
            panic!("not an object")
        };
        conversation(row).map_err(|problem| problem.to_string())
    }

    #[test]
    fn roles_contents_and_reasoning_are_read() {
        let messages = read(
            r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content":
               [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
               {"role": "assistant", "content": "C", "reasoning_content": "R", "name": "bot"}]}"#,
        )
        .unwrap();
        assert_eq!(messages[0], Message::new(Role::System, "S"));
        assert_eq!(messages[1], Message::new(Role::User, "ab"));
        assert_eq!(messages[2].reasoning_content.as_deref(), Some("R"));
        assert_eq!(messages[2].other["name"], "bot");
    }

    #[test]
    fn a_turn_that_only_calls_tools_needs_no_content() {
        let messages = read(
            r#"{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": 1}]},
               {"role": "tool", "content": "4"}, {"role": "assistant", "content": "four"}]}"#,
        )
        .unwrap();
        assert_eq!(messages[0].content, "");
        assert!(messages[0].other["tool_calls"].is_array());
    }

    #[test]
    fn every_malformation_names_the_field() {
        for (json, expected) in [
            (r"{}", "the field `messages` is missing"),
            (
                r#"{"messages": "x"}"#,
                "the field `messages` must be a list, found a string",
            ),
            (r#"{"messages": []}"#, "the field `messages` is empty"),
            (
                r#"{"messages": [1]}"#,
                "the field `messages[0]` must be an object, found a number",
            ),
            (
                r#"{"messages": [{"content": "x"}]}"#,
                "the field `messages[0].role` is missing",
            ),
            (
                r#"{"messages": [{"role": "gpt", "content": "x"}]}"#,
                "the field `messages[0].role` is `gpt`: expected `system`, `developer`, `user`, `assistant` or `tool`",
            ),
            (
                r#"{"messages": [{"role": "user"}]}"#,
                "the field `messages[0].content` is missing",
            ),
            (
                r#"{"messages": [{"role": "user", "content": null}]}"#,
                "the field `messages[0].content` must be a string or a list of text parts, found null",
            ),
            (
                r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#,
                "the field `messages[0].content[0]` has type `image_url`: only text is supported",
            ),
            (
                r#"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#,
                "the field `messages[0].content[0].text` is missing",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": "x", "reasoning_content": 1}]}"#,
                "the field `messages[0].reasoning_content` must be a string, found a number",
            ),
            (
                r#"{"messages": [{"role": "user", "content": "x"}]}"#,
                "the last message is from `user`: it must be from `assistant`",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), expected, "{json}");
        }
    }
}
