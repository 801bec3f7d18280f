//! The page of wrong answers.

use std::fmt::Write as _;

use leadspan_files::visible_page;

use crate::{AnswerEnd, Answered};

/// The number of characters that are shown from the end of a text.
const SHOWN: usize = 800;

/// The page, in Markdown. Characters that would steer a terminal are written out.
pub(crate) fn page(answers: &[Answered]) -> String {
    let failures: Vec<&Answered> = answers.iter().filter(|answer| !answer.correct).collect();
    let ungraded = failures.iter().filter(|answer| answer.ungraded.is_some()).count();
    let mut page = format!("# {} of {} answers are wrong", failures.len() - ungraded, answers.len());
    match ungraded {
        0 => page.push('\n'),
        count => drop(writeln!(page, ", {count} ungraded")),
    }
    for answer in failures {
        let found = answer.found.as_deref().map_or_else(|| "no answer".to_owned(), code);
        let end = match answer.end {
            AnswerEnd::Stopped => "",
            AnswerEnd::Cut => ", cut at the limit",
            AnswerEnd::PromptTooLong => ", the prompt fills the context",
        };
        let ungraded = answer.ungraded.as_deref();
        let ungraded = ungraded.map_or_else(String::new, |because| format!("Ungraded: {}\n\n", code(because)));
        let _ = write!(
            page,
            "\n## {}\n\n{}\n{ungraded}Expected {}, got {found} ({} tokens{end}).\n\n{}",
            on_one_line(&answer.id),
            block(&answer.question),
            code(&answer.expected),
            answer.tokens,
            block(&end_of(&answer.text))
        );
    }
    visible_page(&page)
}

/// The last characters of a text.
fn end_of(text: &str) -> String {
    let text = text.trim_end();
    match text.char_indices().rev().nth(SHOWN - 1) {
        Some((place, _)) if place > 0 => format!("…{}", &text[place..]),
        _ => text.to_owned(),
    }
}

/// A text as a block, fenced by more backticks than the text contains.
fn block(text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}text\n{text}\n{fence}\n")
}

/// A text as code within a line.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    format!("{fence} {} {fence}", on_one_line(text))
}

/// A text without line breaks, so that it stays in its place on the page.
fn on_one_line(text: &str) -> String {
    text.split([' ', '\t', '\n', '\r'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_question_answers_and_the_end_of_the_text() {
        let answer = |id: &str, correct| Answered {
            index: 0,
            id: id.into(),
            correct,
            ungraded: None,
            expected: "7".into(),
            found: None,
            end: AnswerEnd::Cut,
            tokens: 5,
            question: "How\nmany ```?".into(),
            text: format!("{}é the end\n", "x".repeat(2000)),
        };
        let page = page(&[answer("right", true), answer("wrong", false)]);
        assert!(
            page.starts_with("# 1 of 2 answers are wrong\n\n## wrong\n\n````text\nHow\nmany ```?\n````\n"),
            "{page}"
        );
        assert!(
            page.contains("Expected ` 7 `, got no answer (5 tokens, cut at the limit).\n"),
            "{page}"
        );
        let shown = format!(
            "text\n…{}é the end\n```\n",
            "x".repeat(SHOWN - "é the end".chars().count())
        );
        assert!(page.ends_with(&shown), "{page}");
        let steering = Answered {
            question: "a\r\nb\u{1b}[2J".into(),
            text: "c\u{202e}\r".into(),
            expected: "\u{9b}31m".into(),
            ..answer("one\n# 0 wrong\u{1b}]0;t\u{7}", false)
        };
        let page = super::page(&[steering]);
        assert!(
            page.contains("\n## one # 0 wrong\\x1b]0;t\\x07\n\n```text\na\nb\\x1b[2J\n```\n"),
            "{page}"
        );
        assert!(
            page.contains("Expected ` \\x9b31m `") && page.ends_with("```text\nc\\u{202e}\n```\n"),
            "{page}"
        );
        let ungraded = Answered {
            ungraded: Some("a `matrix`".into()),
            ..answer("open", false)
        };
        let page = super::page(&[ungraded, answer("wrong", false)]);
        assert!(
            page.starts_with("# 1 of 2 answers are wrong, 1 ungraded\n\n## open\n"),
            "{page}"
        );
        assert!(page.contains("\nUngraded: `` a `matrix` ``\n\nExpected"), "{page}");
    }
}
