//! The layout of Nemotron's post-training data: the turns so far in `input`, as `OpenAI`'s messages, and the model's in
//! `output`.
//!
//! The system prompt in the field `system_prompt` switches the thinking of Nemotron's own models on and off; it is left
//! out, unless `data.system_prompt` keeps it.

use super::{
    Layout, LayoutOptions, Row, SystemPrompt,
    fields::{required_list, required_string, string_of},
    messages::turns,
    thinking::THINK,
};
use crate::{Message, Role, RowProblem};

pub(super) const LAYOUT: Layout = Layout {
    fields: |_| vec!["system_prompt", "input", "output"],
    conversation,
};

fn conversation(mut row: Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    const INPUT: &str = "input";
    let input = required_list(&mut row, INPUT)?;
    let output = required_string(&row, "output")?;
    let mut messages = Vec::with_capacity(input.len() + 2);
    if options.system_prompt == SystemPrompt::Keep
        && let Some(text) = string_of(&row, "system_prompt")?.filter(|text| !text.trim().is_empty())
    {
        messages.push(Message::new(Role::System, text));
    }
    messages.extend(turns(input, INPUT, options)?);
    messages.push(Message::new(Role::Assistant, THINK.translate(output, options)?));
    Ok(messages)
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

    #[test]
    fn the_output_is_the_last_turn() {
        let json = r#"{"system_prompt": "detailed thinking on", "category": "math",
            "input": [{"role": "user", "content": "q"}], "output": "<think>\nhm\n</think>\n\n4"}"#;
        let expected = [
            Message::new(Role::System, "detailed thinking on"),
            Message::new(Role::User, "q"),
            Message::new(Role::Assistant, "<think>\nhm\n</think>\n\n4"),
        ];
        assert_eq!(read(json, SystemPrompt::Drop).unwrap(), expected[1..]);
        assert_eq!(read(json, SystemPrompt::Keep).unwrap(), expected);
    }

    #[test]
    fn every_malformation_names_the_field() {
        for (json, expected) in [
            (r#"{"output": "x"}"#, "the field `input` is missing"),
            (
                r#"{"input": "q", "output": "x"}"#,
                "the field `input` must be a list, found a string",
            ),
            (r#"{"input": [], "output": "x"}"#, "the field `input` is empty"),
            (
                r#"{"input": [{"role": "user"}], "output": "x"}"#,
                "the field `input[0].content` is missing",
            ),
            (
                r#"{"input": [{"role": "user", "content": "q"}]}"#,
                "the field `output` is missing",
            ),
            (
                r#"{"input": [{"role": "user", "content": "q"}], "output": []}"#,
                "the field `output` must be a string, found a list",
            ),
            (
                r#"{"input": [{"role": "user", "content": "q"}], "output": "x", "system_prompt": {}}"#,
                "the field `system_prompt` must be a string, found an object",
            ),
        ] {
            assert_eq!(read(json, SystemPrompt::Keep).unwrap_err(), expected, "{json}");
        }
    }
}
