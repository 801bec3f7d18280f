//! The `columns` layout: a question, a chain of thought and an answer in three fields.
//!
//! Question and chain of thought are required; the answer may be absent, null or empty. Outer white space of the chain
//! of thought and the answer is removed, and so are thinking markers that already enclose the chain of thought. An
//! empty chain of thought gets no markers, so that `sections.without_markers` decides about the row.
//!
//! A data set may have the model's whole response in the field of the chain of thought: the thinking, its end marker and a
//! final text. It is split there, and the final text is the answer. The row's own answer must not be another plain number,
//! or another choice, than the final text gives. A text before the start marker, and a second marker of either kind, are refused.

use serde_json::Value;

use super::{
    Layout, LayoutOptions, Row,
    fields::not_blank,
    held::holds_as_word,
    markers::{check_answer, check_thinking},
    own_answer::contradicts,
    thinking::with_thinking,
};
use crate::{Message, Role, RowProblem, RowRules, SectionSettings, row_problem::kind_of};

pub(super) const LAYOUT: Layout = Layout {
    fields: |columns| vec![&columns.question, &columns.chain_of_thought, &columns.answer],
    conversation: |row, options| conversation(&row, options),
};

fn conversation(row: &Row, options: LayoutOptions) -> Result<Vec<Message>, RowProblem> {
    let columns = options.columns;
    let missing = |name: &str| RowProblem::MissingField { field: name.to_owned() };
    let question = text(row, &columns.question)?.ok_or_else(|| missing(&columns.question))?;
    let question = not_blank(question, &columns.question)?;
    let chain_of_thought = text(row, &columns.chain_of_thought)?.ok_or_else(|| missing(&columns.chain_of_thought))?;
    let answer = text(row, &columns.answer)?.unwrap_or_default();

    let content = match options.rules {
        RowRules::First => enclosed(&chain_of_thought, &answer, options.sections),
        RowRules::Second => response(&chain_of_thought, &answer, options)?,
        RowRules::Third | RowRules::Fourth | RowRules::Fifth | RowRules::Sixth => {
            let content = response(&chain_of_thought, &answer, options)?;
            check_markers(&chain_of_thought, &answer, options)?;
            content
        }
    };
    Ok(vec![
        Message::new(Role::User, question),
        Message::new(Role::Assistant, content),
    ])
}

/// The chain of thought between the markers, without those that it has at its ends, and the answer.
fn enclosed(chain_of_thought: &str, answer: &str, sections: &SectionSettings) -> String {
    let inside = without_start(chain_of_thought, sections);
    let inside = inside.strip_suffix(&sections.thinking_end).unwrap_or(inside).trim();
    if inside.is_empty() {
        answer.trim().to_owned()
    } else {
        with_thinking(sections, inside, answer.trim())
    }
}

/// The same with one end marker, after which the chain of thought may have a final text.
fn response(chain_of_thought: &str, answer: &str, options: LayoutOptions) -> Result<String, RowProblem> {
    let (columns, sections) = (options.columns, options.sections);
    let end = &sections.thinking_end;
    let second = |field: &str| RowProblem::SecondEndMarker {
        field: format!("the field `{field}`"),
        marker: end.clone(),
    };
    let Some((inside, final_text)) = chain_of_thought.split_once(end) else {
        if answer.contains(end) && !chain_of_thought.trim().is_empty() {
            return Err(second(&columns.answer));
        }
        return Ok(enclosed(chain_of_thought, answer, sections));
    };
    let (final_text, answer) = (final_text.trim(), answer.trim());
    if final_text.contains(end) {
        return Err(second(&columns.chain_of_thought));
    }
    if answer.contains(end) && !without_start(inside, sections).trim().is_empty() {
        return Err(second(&columns.answer));
    }
    let is_other = if options.rules < RowRules::Third {
        !holds_as_word(final_text, answer)
    } else {
        contradicts(final_text, answer)
    };
    if !final_text.is_empty() && is_other {
        return Err(RowProblem::TwoAnswers {
            response: columns.chain_of_thought.clone(),
            answer: columns.answer.clone(),
            marker: end.clone(),
        });
    }
    let answer = if final_text.is_empty() { answer } else { final_text };
    Ok(enclosed(inside, answer, sections))
}

/// Checks that the chain of thought begins with its start marker if it has one, and that no other text has a marker.
fn check_markers(chain_of_thought: &str, answer: &str, options: LayoutOptions) -> Result<(), RowProblem> {
    let (columns, sections) = (options.columns, options.sections);
    let field = |name: &str| format!("the field `{name}`");
    let parts = chain_of_thought.split_once(&sections.thinking_end);
    let (inside, final_text) = parts.unwrap_or((chain_of_thought, ""));
    let inside = without_start(inside, sections);
    check_thinking(inside, &field(&columns.chain_of_thought), sections)?;
    check_answer(final_text, &field(&columns.chain_of_thought), sections)?;
    // Without a chain of thought of its own, the row may have one in its answer.
    if inside.trim().is_empty() {
        return Ok(());
    }
    check_answer(answer, &field(&columns.answer), sections)
}

fn without_start<'a>(chain_of_thought: &'a str, sections: &SectionSettings) -> &'a str {
    let text = chain_of_thought.trim();
    text.strip_prefix(&sections.thinking_start).unwrap_or(text)
}

/// The text of a field: a string, a number as it is written, or an empty text for null; `None` if the field is absent.
pub(super) fn text(row: &Row, name: &str) -> Result<Option<String>, RowProblem> {
    match row.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(String::new())),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(row.written(name, number).into_owned())),
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
    use crate::layout::{
        ColumnNames,
        tests::{options, row},
    };

    fn assistant(json: &str) -> Result<String, String> {
        assistant_by(RowRules::CURRENT, json)
    }

    fn assistant_by(rules: RowRules, json: &str) -> Result<String, String> {
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        let options = LayoutOptions {
            rules,
            ..options(&columns, &sections)
        };
        conversation(&row(json), options)
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
    fn a_whole_response_is_split_at_its_own_end_marker() {
        let whole =
            r#"{"question": "q", "chain_of_thought": "<think>\nc\n</think>\n\nSo it is 42.", "answer": ANSWER}"#;
        for answer in ["\"42\"", "42", "null", "\"\""] {
            let json = whole.replace("ANSWER", answer);
            assert_eq!(
                assistant(&json).unwrap(),
                "<think>\nc\n</think>\n\nSo it is 42.",
                "{answer}"
            );
        }
        // Other notations, and what cannot be compared.
        for answer in ["\"$42.00\"", "\"6 * 7 = 42\\n#### 42\"", "\"forty-two\""] {
            assert!(assistant(&whole.replace("ANSWER", answer)).is_ok(), "{answer}");
        }
        // The template has opened the thinking.
        let opened = r#"{"question": "q", "chain_of_thought": "c</think>42"}"#;
        assert_eq!(assistant(opened).unwrap(), "<think>\nc\n</think>\n\n42");
        let empty = r#"{"question": "q", "chain_of_thought": "<think>\n\n</think>\n\n42"}"#;
        assert_eq!(assistant(empty).unwrap(), "42");
        for other in ["4", "\"420\"", "\"6 * 7 = 43\\n#### 43\""] {
            assert!(assistant(&whole.replace("ANSWER", other)).is_err(), "{other}");
        }
        assert_eq!(
            assistant(&whole.replace("ANSWER", "41")).unwrap_err(),
            "the field `chain_of_thought` has a final text after `</think>` with another answer than the field `answer`"
        );
        // A corpus of older rules keeps its samples.
        let second = "<think>\nc\n</think>\n\nSo it is 42.\n</think>\n\n42";
        assert_eq!(
            assistant_by(RowRules::First, &whole.replace("ANSWER", "42")).unwrap(),
            second
        );
    }

    #[test]
    fn a_second_end_marker_is_refused() {
        for (thought, answer, field) in [
            ("c</think>a</think>b", "", "chain_of_thought"),
            ("c", "<think>d</think>a", "answer"),
            ("<think>c</think>", "<think>d</think>a", "answer"),
        ] {
            let json = serde_json::json!({"question": "q", "chain_of_thought": thought, "answer": answer}).to_string();
            assert_eq!(
                assistant(&json).unwrap_err(),
                format!("the field `{field}` holds `</think>`, but the chain of thought gets that marker at its end")
            );
        }
        // A response in the answer's field alone has its own markers.
        let response = r#"{"question": "q", "chain_of_thought": null, "answer": "<think>c</think>a"}"#;
        assert_eq!(assistant(response).unwrap(), "<think>c</think>a");
    }

    #[test]
    fn a_start_marker_is_at_the_beginning_or_refused() {
        let of = |rules, thought: &str, answer: &str| {
            let json = serde_json::json!({"question": "q", "chain_of_thought": thought, "answer": answer});
            assistant_by(rules, &json.to_string())
        };
        let inside =
            "the field `chain_of_thought` holds `<think>` inside the chain of thought, not at its beginning".to_owned();
        let after = |field: &str| format!("the field `{field}` holds `<think>` after the chain of thought");
        for (thought, answer, expected) in [
            ("Sure! <think>c</think> 42", "42", inside.clone()),
            ("Sure! <think>c", "42", inside.clone()),
            ("<think><think>c</think> 42", "42", inside.clone()),
            ("<think>c <think> d", "42", inside),
            ("<think>c</think> 42 <think>d", "42", after("chain_of_thought")),
            ("c", "<think>42", after("answer")),
        ] {
            assert_eq!(
                of(RowRules::CURRENT, thought, answer).unwrap_err(),
                expected,
                "{thought}"
            );
            // A corpus of older rules keeps its samples.
            assert!(of(RowRules::Second, thought, answer).is_ok(), "{thought}");
        }
        let opened = of(RowRules::CURRENT, "\n<think>c", "42").unwrap();
        assert_eq!(opened, "<think>\nc\n</think>\n\n42");
    }

    #[test]
    fn an_answer_that_is_part_of_another_number_is_not_that_answer() {
        for final_text in ["It is -5.", "It is 5/6.", "It is 0.5.", "It is 5,000.", "10^5"] {
            let json =
                serde_json::json!({"question": "q", "chain_of_thought": format!("c</think>{final_text}"), "answer": 5});
            let of = |rules| assistant_by(rules, &json.to_string());
            let refused = of(RowRules::CURRENT).unwrap_err();
            assert!(
                refused.contains("with another answer than the field `answer`"),
                "{refused}"
            );
            assert!(of(RowRules::Second).is_ok(), "{final_text}");
        }
    }

    #[test]
    fn a_number_is_a_text_as_it_is_written() {
        let json = |number: &str| format!(r#"{{"question": {number}, "chain_of_thought": "c", "answer": {number}}}"#);
        for number in ["123456789012345678901", "1e5", "1.10", "-0", "0.1"] {
            let expected = format!("<think>\nc\n</think>\n\n{number}");
            assert_eq!(assistant(&json(number)).unwrap(), expected);
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
