//! The layout of TRL's prompts and completions: `prompt` and `completion` are two texts, or two lists of messages.

use serde_json::Value;

use super::{
    Layout, LayoutOptions, Row,
    fields::{not_blank, not_empty},
    messages::{ending_with_the_assistant, turns},
    thinking::THINK,
};
use crate::{Message, Role, RowProblem};

pub(super) const LAYOUT: Layout = Layout {
    fields: |_| vec![PROMPT, COMPLETION],
    conversation,
};

const PROMPT: &str = "prompt";
const COMPLETION: &str = "completion";

fn conversation(mut row: Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    let mut all = part(&mut row, PROMPT, Role::User, options)?;
    all.extend(part(&mut row, COMPLETION, Role::Assistant, options)?);
    ending_with_the_assistant(all)
}

/// The turns of a field: one of `role` if it is a text.
fn part(row: &mut Row, name: &str, role: Role, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    match row.remove(name) {
        Some(Value::String(text)) if role == Role::Assistant => {
            Ok(vec![Message::new(role, THINK.translate(&text, options)?)])
        }
        Some(Value::String(text)) => Ok(vec![Message::new(role, not_blank(text, name)?)]),
        Some(Value::Array(list)) => turns(not_empty(list, name)?, name, options),
        Some(other) => Err(RowProblem::wrong_type(name, "a string or a list of messages", &other)),
        None => Err(RowProblem::missing(name)),
    }
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
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        conversation(row(json), options(&columns, &sections)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn texts_and_lists_of_messages_are_the_turns() {
        let expected = [
            Message::new(Role::User, "q\n"),
            Message::new(Role::Assistant, "<think>\nhm\n</think>\n\n4"),
        ];
        let texts = r#"{"prompt": "q\n", "completion": "<think>\nhm\n</think>\n\n4"}"#;
        assert_eq!(read(texts).unwrap(), expected);
        let lists = r#"{"prompt": [{"role": "user", "content": "q\n"}],
            "completion": [{"role": "assistant", "content": "<think>\nhm\n</think>\n\n4"}]}"#;
        assert_eq!(read(lists).unwrap(), expected);
    }

    #[test]
    fn every_malformation_names_the_field() {
        for (json, expected) in [
            (r#"{"completion": "x"}"#, "the field `prompt` is missing"),
            (r#"{"prompt": " ", "completion": "x"}"#, "the field `prompt` is empty"),
            (r#"{"prompt": "q"}"#, "the field `completion` is missing"),
            (
                r#"{"prompt": "q", "completion": []}"#,
                "the field `completion` is empty",
            ),
            (
                r#"{"prompt": 1, "completion": "x"}"#,
                "the field `prompt` must be a string or a list of messages, found a number",
            ),
            (
                r#"{"prompt": "q", "completion": [{"role": "assistant"}]}"#,
                "the field `completion[0].content` is missing",
            ),
            (
                r#"{"prompt": "q", "completion": [{"role": "user", "content": "x"}]}"#,
                "the last message is from `user`: it must be from `assistant`",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), expected, "{json}");
        }
    }
}
