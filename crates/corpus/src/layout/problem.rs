//! A row as a problem: the turns that a model is given, and the answer that its own is compared with.

use serde_json::Value;

use super::{Format, LayoutOptions, Row, add_system, columns, fields::not_blank, messages};
use crate::{Message, Role, RowProblem, RowRules, conversation::Conversation};

impl Format {
    /// The turns before the model's own, and the text that contains the right answer: the field `answer` if one is
    /// named, else the answer field of the `columns` layout, else the assistant's last turn.
    pub(crate) fn problem(
        self,
        mut row: Row,
        options: LayoutOptions,
        answer: Option<&str>,
    ) -> Result<(Conversation, String), RowProblem> {
        let field = |name: &str| {
            let text = columns::text(&row, name)?.ok_or_else(|| RowProblem::missing(name))?;
            not_blank(text, name)
        };
        let right_answer = |name: &str| match row.get(name) {
            Some(Value::Array(list)) => only_answer(&row, name, list),
            _ => field(name),
        };
        if self == Self::Columns {
            let question = field(&options.columns.question)?;
            let reference = right_answer(answer.unwrap_or(&options.columns.answer))?;
            let given = self.given(&mut row, options)?;
            let mut messages = vec![Message::new(Role::User, question)];
            add_system(&mut messages, options.system);
            return Ok((Conversation { messages, given }, reference));
        }
        let reference = answer.map(right_answer).transpose()?;
        let mut conversation = match (self, &reference) {
            // The answer is in another field, so the conversation may end with the user's turn.
            (Self::Messages, Some(_)) => {
                let given = self.given(&mut row, options)?;
                let mut messages = messages::messages(row, options)?;
                add_system(&mut messages, options.system);
                Conversation { messages, given }
            }
            // Nobody learns the last turn, so markers in its answer do no harm.
            _ => self.conversation_checked_by(options.rules.min(RowRules::Second), row, options)?,
        };
        let last = conversation.messages.pop_if(|last| last.role == Role::Assistant);
        if conversation.messages.is_empty() {
            return Err(RowProblem::NothingToAsk);
        }
        let reference = reference.or_else(|| last.map(|last| last.content)).unwrap_or_default();
        if reference.trim().is_empty() {
            return Err(RowProblem::NoReference);
        }
        Ok((conversation, reference))
    }
}

/// The answer in a list of one, such as `["5"]`.
fn only_answer(row: &Row, name: &str, list: &[Value]) -> Result<String, RowProblem> {
    match list {
        [] => Err(RowProblem::EmptyField { field: name.to_owned() }),
        [Value::String(text)] => not_blank(text.clone(), name),
        [Value::Number(number)] => row.check_integers(name).map(|()| number.to_string()),
        [other] => Err(RowProblem::wrong_type(
            format!("{name}[0]"),
            "a string or a number",
            other,
        )),
        several => Err(RowProblem::SeveralAnswers {
            field: name.to_owned(),
            count: several.len(),
        }),
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

    fn problem(format: &str, answer: Option<&str>, json: &str) -> Result<(Vec<String>, String), String> {
        problem_after(None, format, answer, json)
    }

    fn problem_after(
        system: Option<&str>,
        format: &str,
        answer: Option<&str>,
        json: &str,
    ) -> Result<(Vec<String>, String), String> {
        let format: Format = serde_json::from_value(format.into()).unwrap();
        let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
        let options = LayoutOptions {
            system,
            ..options(&columns, &sections)
        };
        let turns = |asked: Conversation| asked.messages.into_iter().map(|turn| turn.content).collect();
        format
            .problem(row(json), options, answer)
            .map(|(asked, reference)| (turns(asked), reference))
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_question_is_what_comes_before_the_answer() {
        let asked = |turns: &[&str], reference: &str| {
            Ok((
                turns.iter().map(ToString::to_string).collect::<Vec<_>>(),
                reference.to_owned(),
            ))
        };
        // No chain of thought is needed.
        let columns = r#"{"question": "q", "answer": 42, "solution": "7"}"#;
        assert_eq!(problem("columns", None, columns), asked(&["q"], "42"));
        assert_eq!(problem("columns", Some("solution"), columns), asked(&["q"], "7"));
        let turns = r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "reasoning_content": "r"}], "gold": "g"}"#;
        assert_eq!(problem("messages", None, turns), asked(&["s", "q"], "a"));
        assert_eq!(problem("messages", Some("gold"), turns), asked(&["s", "q"], "g"));
        let open = r#"{"messages": [{"role": "user", "content": "q"}], "gold": 1.5}"#;
        assert_eq!(problem("messages", Some("gold"), open), asked(&["q"], "1.5"));
        let synthetic = r#"{"prompt": "q", "llm_response": "<think>r</think>\\boxed{3}"}"#;
        assert_eq!(problem("synthetic-1", None, synthetic).unwrap().0, ["q"]);
        // The last turn is not learnt.
        let two_ends = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r</think>s</think>a"}]}"#;
        assert_eq!(
            problem("messages", None, two_ends),
            asked(&["q"], "r</think>s</think>a")
        );
        let written = r#"{"question": "q", "answer": 1.10}"#;
        assert_eq!(problem("columns", None, written), asked(&["q"], "1.10"));
        for (format, answer, json) in [("columns", None, columns), ("messages", Some("gold"), open)] {
            let with_system = problem_after(Some("S"), format, answer, json).unwrap();
            assert_eq!(with_system.0, ["S", "q"], "{format}");
        }
    }

    #[test]
    fn a_list_of_one_answer_is_that_answer() {
        let of = |answer: &str| {
            let json = format!(r#"{{"question": "q", "final_answer": {answer}}}"#);
            problem("columns", Some("final_answer"), &json).map(|(_, reference)| reference)
        };
        assert_eq!(of(r#"["5"]"#).unwrap(), "5");
        assert_eq!(of("[5]").unwrap(), "5");
        let turns = r#"{"messages": [{"role": "user", "content": "q"}], "gold": ["$5$"]}"#;
        assert_eq!(problem("messages", Some("gold"), turns).unwrap().1, "$5$");
        for (answer, expected) in [
            (
                r#"["3", "4"]"#,
                "the field `final_answer` is a list of 2 answers: write one text, such as `3, 4`",
            ),
            ("[]", "the field `final_answer` is empty"),
            (r#"[" "]"#, "the field `final_answer` is empty"),
            (
                r#"[["5"]]"#,
                "the field `final_answer[0]` must be a string or a number, found a list",
            ),
            (
                "[123456789012345678901]",
                "the field `final_answer` holds the integer 123456789012345678901",
            ),
        ] {
            let refused = of(answer).unwrap_err();
            assert!(refused.starts_with(expected), "{answer}: {refused}");
        }
    }

    #[test]
    fn a_row_without_question_or_answer_says_so() {
        let of = |format, answer, json| problem(format, answer, json).unwrap_err();
        assert_eq!(
            of("columns", None, r#"{"question": "q"}"#),
            "the field `answer` is missing"
        );
        assert_eq!(
            of("columns", Some("gold"), r#"{"question": "q", "gold": " "}"#),
            "the field `gold` is empty"
        );
        let open = r#"{"messages": [{"role": "user", "content": "q"}]}"#;
        assert_eq!(
            of("messages", None, open),
            "the last message is from `user`: it must be from `assistant`"
        );
        let alone = r#"{"messages": [{"role": "assistant", "content": "a"}]}"#;
        assert_eq!(of("messages", None, alone), "there is no turn before the assistant's");
        let silent = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]}"#;
        assert_eq!(of("messages", None, silent), "the assistant's last turn has no answer");
    }
}
