//! The layout of Synthetic-1: the task in `prompt`, what the model wrote in `llm_response`.

use super::{Layout, Row, fields::required_string, thinking::THINK};
use crate::{Message, Role, RowProblem, SectionSettings};

pub(super) const LAYOUT: Layout = Layout {
    fields: |_| vec!["prompt", "llm_response"],
    conversation: |row, options| conversation(&row, options.sections),
};

fn conversation(row: &Row, sections: &SectionSettings) -> Result<Vec<Message>, RowProblem> {
    let prompt = required_string(row, "prompt")?;
    if prompt.trim().is_empty() {
        return Err(RowProblem::EmptyField { field: "prompt".into() });
    }
    let response = required_string(row, "llm_response")?;
    Ok(vec![
        Message::new(Role::User, prompt),
        Message::new(Role::Assistant, THINK.translate(response, sections)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::row;

    #[test]
    fn prompt_and_response_are_the_two_turns() {
        let json = r#"{"prompt": "q\n", "llm_response": "<think>\nhm\n</think>\n\n4", "task_type": "verifiable_math"}"#;
        let expected = [
            Message::new(Role::User, "q\n"),
            Message::new(Role::Assistant, "<think>\nhm\n</think>\n\n4"),
        ];
        assert_eq!(conversation(&row(json), &SectionSettings::default()).unwrap(), expected);
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
            let problem = conversation(&row(json), &SectionSettings::default()).unwrap_err();
            assert_eq!(problem.to_string(), expected, "{json}");
        }
    }
}
