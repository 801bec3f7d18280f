//! The layout that OpenThoughts, Bespoke-Stratos and Sky-T1 share: `conversations`, a list of {from, value}.
//!
//! `from` has the names of `OpenAI`'s roles or ShareGPT's (`human`, `gpt`). A turn without `from` is {role, content}, as in the
//! `messages` layout. The assistant's turns hold a thought and a
//! solution between the data set's own markers, which are replaced by the configured ones. The system prompt in the
//! field `system` asks for the data set's markers. It is left out, unless `data.system_prompt` keeps it; the markers in
//! it are then replaced too.

use serde_json::{Map, Value};

use super::{
    Layout, LayoutOptions, Row, SystemPrompt,
    fields::{required_list, string_of},
    messages::{self, ending_with_the_assistant},
    thinking::THOUGHT_AND_SOLUTION,
};
use crate::{EmptyContent, Message, Role, RowProblem, RowRules};

pub(super) const LAYOUT: Layout = Layout {
    fields: |_| vec!["system", "conversations"],
    conversation,
};

fn conversation(mut row: Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    const FIELD: &str = "conversations";
    let turns = required_list(&mut row, FIELD)?;
    let mut messages = Vec::with_capacity(turns.len() + 1);
    if options.system_prompt == SystemPrompt::Keep
        && let Some(text) = string_of(&row, "system")?.filter(|text| !text.trim().is_empty())
    {
        messages.push(Message::new(
            Role::System,
            THOUGHT_AND_SOLUTION.replace(text, options.sections),
        ));
    }
    for (index, turn) in turns.into_iter().enumerate() {
        messages.push(message(turn, &format!("{FIELD}[{index}]"), options)?);
    }
    ending_with_the_assistant(messages)
}

fn message(turn: Value, path: &str, options: LayoutOptions) -> Result<Message, RowProblem> {
    let Value::Object(mut fields) = turn else {
        return Err(RowProblem::wrong_type(path, "an object", &turn));
    };
    let is_there = |name| fields.get(name).is_some_and(|value| !value.is_null());
    if options.rules >= RowRules::Second && !is_there("from") && is_there("role") {
        let mut message = messages::message(Value::Object(fields), path, options)?;
        if message.role == Role::Assistant {
            message.content = THOUGHT_AND_SOLUTION.translate(&message.content, options)?;
        }
        return Ok(message);
    }
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(RowProblem::wrong_type(format!("{path}.{name}"), "a string", other)),
        None => Err(RowProblem::missing(format!("{path}.{name}"))),
    };
    let (from, value) = (text("from")?, text("value")?);
    let role = role_of(from).ok_or_else(|| RowProblem::UnknownRole {
        field: format!("{path}.from"),
        role: from.to_owned(),
    })?;
    if options.rules >= RowRules::Fourth {
        require_the_same(&fields, path, (role, value))?;
    }
    let content = match role {
        Role::Assistant => THOUGHT_AND_SOLUTION.translate(value, options)?,
        _ => value.to_owned(),
    };
    if options.rules < RowRules::Third {
        return Ok(Message::new(role, content));
    }
    for name in ["from", "value", "role", "content"] {
        fields.shift_remove(name);
    }
    let reasoning_content = messages::reasoning(&mut fields, path, options)?;
    Ok(Message {
        role,
        content,
        empty_content: EmptyContent::Text,
        reasoning_content,
        other: fields,
    })
}

/// Checks that a turn with `from` and `value` has no other `role` or `content` beside them. Blank texts do not count.
fn require_the_same(fields: &Map<String, Value>, path: &str, (role, value): (Role, &str)) -> Result<(), RowProblem> {
    let is_other = |name: &str, is_same: &dyn Fn(&str) -> bool| match fields.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty() && !is_same(text),
        Some(_) => true,
    };
    let is_same_role = |name: &str| role_of(name) == Some(role);
    let is_same_text = |text: &str| text.trim() == value.trim();
    let contradicts = |first: &str, second: &str| {
        Err(RowProblem::Contradiction {
            first: format!("{path}.{first}"),
            second: format!("{path}.{second}"),
        })
    };
    if is_other("role", &is_same_role) {
        return contradicts("from", "role");
    }
    if is_other("content", &is_same_text) {
        return contradicts("value", "content");
    }
    Ok(())
}

/// The role of a name in `from`.
fn role_of(name: &str) -> Option<Role> {
    match name {
        "human" => Some(Role::User),
        "gpt" => Some(Role::Assistant),
        name => Role::from_name(name),
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

    fn read(json: &str, system_prompt: SystemPrompt) -> Result<Vec<Message>, String> {
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        let options = LayoutOptions {
            system_prompt,
            ..options(&columns, &sections)
        };
        conversation(row(json), options).map_err(|problem| problem.to_string())
    }

    const TWO_TURNS: &str = r#"{"system": "Think between <|begin_of_thought|> and <|end_of_thought|>.", "conversations": [
        {"from": "human", "value": "What is <|begin_of_thought|>? "},
        {"from": "gpt", "value": "<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nA marker.\n\n<|end_of_solution|>"},
        {"from": "user", "value": "Sure?"},
        {"from": "assistant", "value": "<|begin_of_thought|>\n\nI am\n\n<|end_of_thought|>\n\n<|begin_of_solution|>Yes<|end_of_solution|>"}]}"#;

    #[test]
    fn turns_keep_their_order_and_only_the_assistants_are_rewritten() {
        let expected = [
            Message::new(Role::User, "What is <|begin_of_thought|>? "),
            Message::new(Role::Assistant, "<think>\nhm\n</think>\n\nA marker."),
            Message::new(Role::User, "Sure?"),
            Message::new(Role::Assistant, "<think>\nI am\n</think>\n\nYes"),
        ];
        assert_eq!(read(TWO_TURNS, SystemPrompt::Drop).unwrap(), expected);
    }

    #[test]
    fn turns_may_have_a_role_and_a_content() {
        let from_and_value = read(TWO_TURNS, SystemPrompt::Drop).unwrap();
        let role_and_content = TWO_TURNS
            .replace("\"human\"", "\"user\"")
            .replace("\"gpt\"", "\"assistant\"")
            .replace("\"from\"", "\"role\"")
            .replace("\"value\"", "\"content\"");
        assert_eq!(read(&role_and_content, SystemPrompt::Drop).unwrap(), from_and_value);
        // What a turn has beside its text is read, too.
        let more =
            r#"{"conversations": [{"from": "gpt", "value": "4", "reasoning": "r", "tool_calls": [{"name": "f"}]}]}"#;
        let turn = read(more, SystemPrompt::Drop).unwrap().pop().unwrap();
        assert_eq!(turn.reasoning_content.as_deref(), Some("r"));
        assert_eq!(turn.other.keys().collect::<Vec<_>>(), ["tool_calls"]);
        let list = more.replace("\"r\"", "[\"r\"]");
        assert_eq!(
            read(&list, SystemPrompt::Drop).unwrap_err(),
            "the field `conversations[0].reasoning` must be a string, found a list"
        );
        // A table stores null for the fields that a turn does not have.
        let apart = r#"{"conversations": [{"from": null, "value": null, "role": "assistant", "content": "4", "reasoning": "r"}]}"#;
        let turns = read(apart, SystemPrompt::Drop).unwrap();
        assert_eq!(turns[0].reasoning_content.as_deref(), Some("r"));
        assert_eq!(turns[0].content, "4");
    }

    #[test]
    fn a_turn_says_one_thing_by_both_pairs_of_names() {
        let turn = |more: &str| {
            let json = format!(r#"{{"conversations": [{{"from": "gpt", "value": "4", {more}}}]}}"#);
            read(&json, SystemPrompt::Drop)
        };
        for same in [
            r#""role": "assistant", "content": "4""#,
            r#""role": "gpt", "content": "4 ""#,
            r#""role": null, "content": """#,
            r#""score": 1"#,
        ] {
            assert_eq!(turn(same).unwrap()[0].content, "4", "{same}");
        }
        for (other, first, second) in [
            (r#""role": "assistant", "content": "5""#, "value", "content"),
            (r#""content": ["4"]"#, "value", "content"),
            (r#""role": "user", "content": "4""#, "from", "role"),
        ] {
            let expected =
                format!("the fields `conversations[0].{first}` and `conversations[0].{second}` contradict each other");
            assert_eq!(turn(other).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_system_prompt_that_is_kept_asks_for_the_configured_markers() {
        let kept = read(TWO_TURNS, SystemPrompt::Keep).unwrap();
        assert_eq!(
            kept[0],
            Message::new(Role::System, "Think between <think> and </think>.")
        );
        assert_eq!(kept.len(), 5);
        for without in ["null", "\" \""] {
            let json = format!(r#"{{"system": {without}, "conversations": [{{"from": "gpt", "value": "a"}}]}}"#);
            assert_eq!(read(&json, SystemPrompt::Keep).unwrap().len(), 1);
        }
    }

    #[test]
    fn every_malformation_names_the_field() {
        for (json, expected) in [
            ("{}", "the field `conversations` is missing"),
            (
                r#"{"conversations": null}"#,
                "the field `conversations` must be a list, found null",
            ),
            (r#"{"conversations": []}"#, "the field `conversations` is empty"),
            (
                r#"{"conversations": ["x"]}"#,
                "the field `conversations[0]` must be an object, found a string",
            ),
            (
                r#"{"conversations": [{"value": "x"}]}"#,
                "the field `conversations[0].from` is missing",
            ),
            (
                r#"{"conversations": [{"from": "gpt"}]}"#,
                "the field `conversations[0].value` is missing",
            ),
            (
                r#"{"conversations": [{"from": "gpt", "value": null}]}"#,
                "the field `conversations[0].value` must be a string, found null",
            ),
            (
                r#"{"conversations": [{"from": "bard", "value": "x"}]}"#,
                "the field `conversations[0].from` is `bard`: expected `system`, `developer`, `user`, `assistant` or `tool`",
            ),
            (
                r#"{"conversations": [{"from": "human", "value": "x"}]}"#,
                "the last message is from `user`: it must be from `assistant`",
            ),
            (
                r#"{"system": 1, "conversations": [{"from": "gpt", "value": "x"}]}"#,
                "the field `system` must be a string, found a number",
            ),
            (
                r#"{"system": "s", "conversations": []}"#,
                "the field `conversations` is empty",
            ),
        ] {
            assert_eq!(read(json, SystemPrompt::Keep).unwrap_err(), expected, "{json}");
        }
    }
}
