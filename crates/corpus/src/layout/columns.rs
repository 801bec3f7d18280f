//! The `columns` layout: a question, a chain of thought and an answer in three fields.
//!
//! Question and chain of thought are required; the answer may be absent, null or empty. Outer white space of the chain
//! of thought and the answer is removed, and so are thinking markers that already enclose the chain of thought. An
//! empty chain of thought gets no markers, so that `sections.without_markers` decides about the row.

use serde_json::Value;

use super::{ColumnNames, Layout, Row, thinking::with_thinking};
use crate::{Message, Role, RowProblem, SectionSettings, row_problem::kind_of};

pub(super) const LAYOUT: Layout = Layout {
    fields: |columns| vec![&columns.question, &columns.chain_of_thought, &columns.answer],
    conversation: |row, options| conversation(&row, options.columns, options.sections),
};

fn conversation(row: &Row, columns: &ColumnNames, sections: &SectionSettings) -> Result<Vec<Message>, RowProblem> {
    let missing = |name: &str| RowProblem::MissingField { field: name.to_owned() };
    let question = text(row, &columns.question)?.ok_or_else(|| missing(&columns.question))?;
    if question.trim().is_empty() {
        return Err(RowProblem::EmptyField {
            field: columns.question.clone(),
        });
    }
    let chain_of_thought = text(row, &columns.chain_of_thought)?.ok_or_else(|| missing(&columns.chain_of_thought))?;
    let answer = text(row, &columns.answer)?.unwrap_or_default();

    let chain_of_thought = chain_of_thought.trim();
    let chain_of_thought = chain_of_thought
        .strip_prefix(&sections.thinking_start)
        .unwrap_or(chain_of_thought);
    let chain_of_thought = chain_of_thought
        .strip_suffix(&sections.thinking_end)
        .unwrap_or(chain_of_thought)
        .trim();
    let answer = answer.trim();
    let content = if chain_of_thought.is_empty() {
        answer.to_owned()
    } else {
        with_thinking(sections, chain_of_thought, answer)
    };
    Ok(vec![
        Message::new(Role::User, question),
        Message::new(Role::Assistant, content),
    ])
}

/// The text of a field: a string, a number as it is written, or an empty text for null; `None` if the field is absent.
pub(super) fn text(row: &Row, name: &str) -> Result<Option<String>, RowProblem> {
    match row.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(String::new())),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(RowProblem::WrongType {
            field: name.to_owned(),
            expected: "a string or a number",
            found: kind_of(other),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assistant(json: &str) -> Result<String, String> {
        let Value::Object(row) = serde_json::from_str(json).unwrap() else {
            panic!("not an object")
        };
        conversation(&row, &ColumnNames::default(), &SectionSettings::default())
            .map(|mut messages| messages.pop().unwrap().content)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_chain_of_thought_goes_between_the_markers() {
        for (json, expected) in [
            (
                r#"{"question": "q", "chain_of_thought": "c", "answer": "a"}"#,
                "<think>\nc\n</think>\n\na",
            ),
            (
                r#"{"question": "q", "chain_of_thought": " c\n", "answer": 42}"#,
                "<think>\nc\n</think>\n\n42",
            ),
            (
                r#"{"question": "q", "chain_of_thought": "c", "answer": -0.5}"#,
                "<think>\nc\n</think>\n\n-0.5",
            ),
            (r#"{"question": "q", "chain_of_thought": "c"}"#, "<think>\nc\n</think>"),
            (
                r#"{"question": "q", "chain_of_thought": "c", "answer": null}"#,
                "<think>\nc\n</think>",
            ),
            (
                r#"{"question": "q", "chain_of_thought": "<think>c</think>", "answer": ""}"#,
                "<think>\nc\n</think>",
            ),
            (r#"{"question": "q", "chain_of_thought": null, "answer": "a"}"#, "a"),
        ] {
            assert_eq!(assistant(json).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn every_malformation_names_the_field() {
        for (json, expected) in [
            (r#"{"chain_of_thought": "c"}"#, "the field `question` is missing"),
            (
                r#"{"question": " ", "chain_of_thought": "c"}"#,
                "the field `question` is empty",
            ),
            (
                r#"{"question": "q", "answer": "a"}"#,
                "the field `chain_of_thought` is missing",
            ),
            (
                r#"{"question": "q", "chain_of_thought": ["c"]}"#,
                "the field `chain_of_thought` must be a string or a number, found a list",
            ),
        ] {
            assert_eq!(assistant(json).unwrap_err(), expected, "{json}");
        }
    }
}
