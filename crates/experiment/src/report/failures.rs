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
    /// Why the grader gave no verdict, if it gave none.
    ungraded: Option<String>,
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
            // An answer without a verdict is none of the wrong ones.
            let (ungraded, wrong): (Vec<&Graded>, Vec<&Graded>) = evaluation
                .graded
                .iter()
                .filter(|graded| !graded.correct)
                .partition(|graded| graded.ungraded.is_some());
            let on_record = evaluation.graded.len() as u64;
            let is_missing = on_record != evaluation.problems;
            let summary = if is_missing {
                format!(
                    "the answers to {} problems are not on record",
                    shown::count(evaluation.problems)
                )
            } else {
                format!(
                    "{} of {} answers are wrong{}",
                    shown::count(wrong.len() as u64),
                    shown::count(on_record),
                    shown::ungraded(ungraded.len() as u64)
                )
            };
            let is_shown = is_missing || !wrong.is_empty() || !ungraded.is_empty();
            is_shown.then(|| FailuresOfRun {
                run: run.name.clone(),
                summary,
                samples: wrong.into_iter().chain(ungraded).take(SHOWN).map(failure).collect(),
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
        ungraded: graded.ungraded.clone(),
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
