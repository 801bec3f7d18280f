//! The `messages` layout: `OpenAI`'s chat format, one conversation a row.
//!
//! A message may have its thinking in a field of its own, under the name that `sections.reasoning_field` gives or under one of
//! the usual names.

use serde_json::{Map, Value};

use super::{Layout, LayoutOptions, Row, fields::required_list};
use crate::{EmptyContent, Message, Role, RowProblem, RowRules, row_problem::kind_of};

/// The usual names of the field with a message's thinking. Chat templates know the first.
const REASONING_FIELDS: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

pub(super) const LAYOUT: Layout = Layout {
    fields: |_| vec!["messages"],
    conversation,
};

fn conversation(row: Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    ending_with_the_assistant(messages(row, options)?)
}

/// Turns of which the last must be the assistant's.
pub(super) fn ending_with_the_assistant(turns: Vec<Message>) -> Result<Vec<Message>, RowProblem> {
    match turns.last() {
        Some(last) if last.role != Role::Assistant => Err(RowProblem::LastMessageNotAssistant {
            role: last.role.as_str(),
        }),
        _ => Ok(turns),
    }
}

/// The turns of a row, at least one. The last may be of any role.
pub(super) fn messages(mut row: Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    const FIELD: &str = "messages";
    turns(required_list(&mut row, FIELD)?, FIELD, options)
}

/// The turns in the list of a field.
pub(super) fn turns(list: Vec<Value>, field: &str, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    let list = list.into_iter().enumerate();
    list.map(|(index, turn)| message(turn, &format!("{field}[{index}]"), options))
        .collect()
}

/// A turn that is a {role, content}.
pub(super) fn message(value: Value, path: &str, options: LayoutOptions) -> Result<Message, RowProblem> {
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
    let content = fields.remove("content");
    let empty_content = match &content {
        None | Some(Value::Null) if options.rules >= RowRules::Sixth => EmptyContent::Absent,
        None | Some(Value::Null) if options.rules >= RowRules::Third => EmptyContent::Null,
        _ => EmptyContent::Text,
    };
    let content = match content {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => text_of_parts(&parts, &field)?,
        // A turn that only calls tools has no content in this format.
        None | Some(Value::Null) if calls_tools => String::new(),
        None => return Err(RowProblem::MissingField { field }),
        Some(other) => return Err(wrong(field, "a string or a list of text parts", &other)),
    };
    let reasoning_content = reasoning(&mut fields, path, options)?;
    Ok(Message {
        role,
        content,
        empty_content,
        reasoning_content,
        other: fields,
    })
}

/// Takes a message's thinking out of its fields.
pub(super) fn reasoning(
    fields: &mut Map<String, Value>,
    path: &str,
    options: LayoutOptions,
) -> Result<Option<String>, RowProblem> {
    let named;
    let names = match &options.sections.reasoning_field {
        Some(name) => {
            named = [name.as_str()];
            &named[..]
        }
        None if options.rules >= RowRules::Second => &REASONING_FIELDS[..],
        None => &REASONING_FIELDS[..1],
    };
    let mut found: Option<(&str, String)> = None;
    for &name in names {
        match (fields.shift_remove(name), &found) {
            (None | Some(Value::Null), _) => {}
            (Some(Value::String(text)), None) => found = Some((name, text)),
            (Some(Value::String(text)), Some((_, known))) if known.trim().is_empty() => found = Some((name, text)),
            (Some(Value::String(text)), Some((_, known))) if text.trim().is_empty() || text == *known => {}
            (Some(Value::String(_)), Some((first, _))) => {
                return Err(RowProblem::TwoReasonings {
                    first: format!("{path}.{first}"),
                    second: format!("{path}.{name}"),
                });
            }
            (Some(other), _)
                if name == names[0] || (options.rules >= RowRules::Third && !matches!(other, Value::Bool(_))) =>
            {
                return Err(RowProblem::wrong_type(format!("{path}.{name}"), "a string", &other));
            }
            // Under the other names there may be a switch.
            (Some(other), _) => drop(fields.insert(name.to_owned(), other)),
        }
    }
    // Templates get the thinking under this name, so no other field may have it.
    fields.shift_remove(REASONING_FIELDS[0]);
    Ok(found.map(|(_, text)| text))
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
    use crate::{
        SectionSettings,
        layout::{
            ColumnNames,
            tests::{options, row},
        },
    };

    fn read(json: &str) -> Result<Vec<Message>, String> {
        read_with(json, &SectionSettings::default(), RowRules::CURRENT)
    }

    fn read_with(json: &str, sections: &SectionSettings, rules: RowRules) -> Result<Vec<Message>, String> {
        let columns = ColumnNames::default();
        let options = LayoutOptions {
            rules,
            ..options(&columns, sections)
        };
        conversation(row(json), options).map_err(|problem| problem.to_string())
    }

    #[test]
    fn thinking_has_one_of_its_usual_names_or_the_one_that_is_set() {
        let of = |fields: &str, name: Option<&str>, rules| {
            let json = format!(r#"{{"messages": [{{"role": "assistant", "content": "a", {fields}}}]}}"#);
            let sections = SectionSettings {
                reasoning_field: name.map(str::to_owned),
                ..SectionSettings::default()
            };
            let turn = read_with(&json, &sections, rules)?.pop().unwrap();
            Ok::<_, String>((turn.reasoning_content, turn.other.keys().cloned().collect::<Vec<_>>()))
        };
        let thinks = |text: &str| Ok((Some(text.to_owned()), Vec::new()));
        for name in REASONING_FIELDS {
            let fields = format!(r#""{name}": "r""#);
            assert_eq!(of(&fields, None, RowRules::CURRENT), thinks("r"), "{name}");
            let first = of(&fields, None, RowRules::First).unwrap().0;
            assert_eq!(first.is_some(), name == "reasoning_content", "{name}");
        }
        assert_eq!(
            of(r#""reasoning": "r", "reasoning_content": "r""#, None, RowRules::CURRENT),
            thinks("r")
        );
        assert_eq!(
            of(r#""reasoning": "r", "reasoning_content": """#, None, RowRules::CURRENT),
            thinks("r")
        );
        assert_eq!(
            of(
                r#""reasoning": "r", "reasoning_content": null"#,
                None,
                RowRules::CURRENT
            ),
            thinks("r")
        );
        assert_eq!(
            of(r#""reasoning": "r", "thinking": "s""#, None, RowRules::CURRENT).unwrap_err(),
            "the fields `messages[0].reasoning` and `messages[0].thinking` hold different thinking"
        );
        let switch = of(r#""thinking": true"#, None, RowRules::CURRENT).unwrap();
        assert_eq!(switch, (None, vec!["thinking".to_owned()]));
        for name in ["reasoning", "thinking"] {
            for (value, kind) in [
                ("[\"r\"]", "a list"),
                ("{\"text\": \"r\"}", "an object"),
                ("1", "a number"),
            ] {
                let fields = format!(r#""{name}": {value}"#);
                assert_eq!(
                    of(&fields, None, RowRules::CURRENT).unwrap_err(),
                    format!("the field `messages[0].{name}` must be a string, found {kind}")
                );
                let before = of(&fields, None, RowRules::Second).unwrap();
                assert_eq!(before, (None, vec![name.to_owned()]), "{fields}");
            }
        }
        let named = of(
            r#""thought": "t", "reasoning_content": "r""#,
            Some("thought"),
            RowRules::CURRENT,
        );
        assert_eq!(named, thinks("t"));
        assert_eq!(
            of(r#""thought": 1"#, Some("thought"), RowRules::CURRENT).unwrap_err(),
            "the field `messages[0].thought` must be a string, found a number"
        );
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
        for content in [r#""content": null,"#, ""] {
            let json = format!(
                r#"{{"messages": [{{"role": "assistant", {content} "tool_calls": [{{"id": 1}}]}},
                   {{"role": "tool", "content": "4"}}, {{"role": "assistant", "content": "four"}}]}}"#,
            );
            for (rules, empty_content) in [
                (RowRules::Second, EmptyContent::Text),
                (RowRules::Third, EmptyContent::Null),
                (RowRules::Fifth, EmptyContent::Null),
                (RowRules::CURRENT, EmptyContent::Absent),
            ] {
                let messages = read_with(&json, &SectionSettings::default(), rules).unwrap();
                assert_eq!(
                    (messages[0].content.as_str(), messages[0].empty_content),
                    ("", empty_content)
                );
                assert!(messages[0].other["tool_calls"].is_array());
            }
        }
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
