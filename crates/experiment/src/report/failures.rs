//! A few wrong answers of each run.

use serde::Serialize;

use super::shown;
use crate::{Graded, Run};

/// The number of wrong answers shown for each run.
const SHOWN: usize = 3;
/// The number of characters shown of a question, and of the end of a text.
const CHARACTERS: usize = 600;

/// The wrong answers of all runs.
#[derive(Debug, Serialize)]
pub(super) struct Failures {
    /// A note if there are no wrong answers.
    note: Option<&'static str>,
    runs: Vec<FailuresOfRun>,
}

#[derive(Debug, Serialize)]
struct FailuresOfRun {
    run: String,
    summary: String,
    samples: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    id: String,
    question: String,
    expected: String,
    /// The answer found in the text, if any.
    found: Option<String>,
    /// The end of the text.
    end: String,
}

pub(super) fn failures(runs: &[Run]) -> Failures {
    let evaluated: Vec<_> = runs
        .iter()
        .filter_map(|run| Some((run, run.evaluation.as_ref()?)))
        .collect();
    let runs: Vec<_> = evaluated
        .iter()
        .filter_map(|(run, evaluation)| {
            let wrong: Vec<&Graded> = evaluation.graded.iter().filter(|graded| !graded.correct).collect();
            let summary = format!(
                "{} of {} answers are wrong",
                shown::count(wrong.len() as u64),
                shown::count(evaluation.graded.len() as u64)
            );
            (!wrong.is_empty()).then(|| FailuresOfRun {
                run: run.name.clone(),
                summary,
                samples: wrong.iter().take(SHOWN).map(|graded| failure(graded)).collect(),
            })
        })
        .collect();
    let note = match (evaluated.is_empty(), runs.is_empty()) {
        (true, _) => Some("No run was evaluated on problems."),
        (false, true) => Some("No evaluated run has a wrong answer on record."),
        (false, false) => None,
    };
    Failures { note, runs }
}

fn failure(graded: &Graded) -> Failure {
    let question = graded.question.trim();
    let start: String = question.chars().take(CHARACTERS).collect();
    Failure {
        id: graded.id.clone(),
        question: if start.len() < question.len() {
            start + " …"
        } else {
            start
        },
        expected: graded.expected.clone(),
        found: graded.found.clone(),
        end: end_of(&graded.text),
    }
}

fn end_of(text: &str) -> String {
    let text = text.trim_end();
    match text.char_indices().rev().nth(CHARACTERS - 1) {
        Some((place, _)) if place > 0 => format!("… {}", &text[place..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_text_is_shown_by_characters() {
        assert_eq!(end_of("short\n"), "short");
        let long = "é".repeat(CHARACTERS + 1);
        assert_eq!(end_of(&long), format!("… {}", "é".repeat(CHARACTERS)));
        assert_eq!(end_of(&long[2..]), "é".repeat(CHARACTERS));
    }
}
