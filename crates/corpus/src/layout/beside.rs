//! Another conversation beside the one that is read: `conversations` in a row of `messages`.
//!
//! Data sets that were converted have both, with the same turns. If the turns differ, nothing tells which are meant.

use serde_json::Value;

use super::{Layout, LayoutOptions, Row, SystemPrompt, conversations};
use crate::{Message, Role, RowProblem, SectionSettings};

/// The field of the other conversation.
pub(super) const FIELD: &str = "conversations";

/// Checks that a field that holds a conversation holds these turns. System prompts do not count, nor does the thinking of turns
/// before the last, nor where it stands. What is not a conversation does not count either.
///
/// # Errors
///
/// Another conversation.
pub(super) fn check(other: Value, turns: &[Message], options: LayoutOptions) -> Result<(), RowProblem> {
    let mut row = Row::default();
    row.insert(FIELD.to_owned(), other);
    let options = LayoutOptions {
        system_prompt: SystemPrompt::Drop,
        ..options
    };
    let Layout { conversation, .. } = conversations::LAYOUT;
    let Ok(others) = conversation(row, options) else {
        return Ok(());
    };
    if said(turns, options.sections) == said(&others, options.sections) {
        Ok(())
    } else {
        Err(RowProblem::TwoConversations {
            first: "messages".to_owned(),
            second: FIELD.to_owned(),
        })
    }
}

/// The role and text of each turn but system prompts, and the thinking of the last.
fn said<'a>(turns: &'a [Message], sections: &SectionSettings) -> (Vec<(Role, &'a str)>, Option<&'a str>) {
    let parts = |turn: &'a Message| match turn.content.rsplit_once(&sections.thinking_end) {
        Some((thinking, text)) if turn.role == Role::Assistant => (text.trim(), Some(thinking)),
        _ => (turn.content.trim(), None),
    };
    let texts = turns
        .iter()
        .filter(|turn| !matches!(turn.role, Role::System | Role::Developer))
        .map(|turn| (turn.role, parts(turn).0));
    let thinking = turns
        .last()
        .and_then(|last| last.reasoning_content.as_deref().or(parts(last).1));
    let inside = thinking.map(|thinking| {
        let thinking = thinking.trim();
        thinking
            .strip_prefix(&sections.thinking_start)
            .unwrap_or(thinking)
            .trim()
    });
    (texts.collect(), inside.filter(|thinking| !thinking.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::{
        ColumnNames, Format,
        tests::{options, row},
    };
    use super::*;
    use crate::RowRules;

    #[test]
    fn another_conversation_in_the_same_row_is_refused_unless_it_says_the_same() {
        let read_of = |rules, format_is_named, other: &str| {
            let (columns, sections) = (ColumnNames::default(), SectionSettings::default());
            let options = LayoutOptions {
                rules,
                format_is_named,
                ..options(&columns, &sections)
            };
            let json = format!(
                r#"{{"messages": [{{"role": "user", "content": "q"}}, {{"role": "assistant", "content": "<think>\nr\n</think>\n\na"}}],
                "conversations": {other}}}"#
            );
            let read = Format::Messages.conversation(row(&json), options);
            read.map(|read| read.messages.len())
                .map_err(|problem| problem.to_string())
        };
        let read_by = |rules, other: &str| read_of(rules, false, other);
        let read = |other: &str| read_by(RowRules::CURRENT, other);
        for same in [
            r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "<think>r</think>a"}]"#,
            r#"[{"from": "system", "value": "s"}, {"from": "human", "value": " q"},
                {"from": "gpt", "value": "<|begin_of_thought|>r<|end_of_thought|><|begin_of_solution|>a<|end_of_solution|>"}]"#,
            r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "r"}]"#,
            // No conversations.
            "null",
            "[]",
            r#"["an id"]"#,
            "7",
            "[123456789012345678901]",
        ] {
            assert_eq!(read(same), Ok(2), "{same}");
        }
        for other in [
            r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "<think>r</think>b"}]"#,
            r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "<think>s</think>a"}]"#,
            r#"[{"from": "human", "value": "p"}, {"from": "gpt", "value": "<think>r</think>a"}]"#,
            r#"[{"from": "gpt", "value": "<think>r</think>a"}]"#,
        ] {
            assert_eq!(
                read(other).unwrap_err(),
                "the fields `messages` and `conversations` hold different conversations"
            );
            // As corpora of older rules were prepared.
            assert_eq!(read_by(RowRules::Third, other), Ok(2));
            // Whoever names `messages` means them.
            assert_eq!(read_of(RowRules::CURRENT, true, other), Ok(2));
            assert!(read_of(RowRules::Fourth, true, other).is_err());
        }
    }
}
