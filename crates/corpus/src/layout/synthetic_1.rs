//! The layout of Synthetic-1: the task in `prompt`, what the model wrote in `llm_response`.

use super::{
    Layout, LayoutOptions, Row,
    fields::{not_blank, required_string},
    thinking::THINK,
};
use crate::{Message, Role, RowProblem};

pub(super) const LAYOUT: Layout = Layout {
    fields: |_| vec!["prompt", "llm_response"],
    conversation: |row, options| conversation(&row, options),
};

fn conversation(row: &Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    let prompt = not_blank(required_string(row, "prompt")?, "prompt")?;
    let response = required_string(row, "llm_response")?;
    Ok(vec![
        Message::new(Role::User, prompt),
        Message::new(Role::Assistant, THINK.translate(response, options)?),
    ])
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

    fn read(json: &str) -> Result<Vec<Message>, RowProblem> {
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        conversation(&row(json), options(&columns, &sections))
    }

    #[test]
    fn prompt_and_response_are_the_two_turns() {
        let json = r#"{"prompt": "q\n", "llm_response": "<think>\nhm\n</think>\n\n4", "task_type": "verifiable_math"}"#;
        let expected = [
            Message::new(Role::User, "q\n"),
            Message::new(Role::Assistant, "<think>\nhm\n</think>\n\n4"),
        ];
        assert_eq!(read(json).unwrap(), expected);
    }

    #[test]
    fn every_malformation_names_the_field() {
        for (json, expected) in [
            (r#"{"llm_response": "r"}"#, "the field `prompt` is missing"),
            (r#"{"prompt": "", "llm_response": "r"}"#, "the field `prompt` is empty"),
            (
                r#"{"prompt": ["q"], "llm_response": "r"}"#,
                "the field `prompt` must be a string, found a list",
            ),
            (r#"{"prompt": "q"}"#, "the field `llm_response` is missing"),
            (
                r#"{"prompt": "q", "llm_response": null}"#,
                "the field `llm_response` must be a string, found null",
            ),
        ] {
            let problem = read(json).unwrap_err();
            assert_eq!(problem.to_string(), expected, "{json}");
        }
    }
}
