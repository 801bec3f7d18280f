//! Whether the answers on record are those that were summed up, and which of those so far count.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{Answered, EvaluationSummary};

/// What an answer must have, whichever version wrote it.
#[derive(Deserialize)]
struct Verdict {
    correct: bool,
}

/// How the answers in `text` differ from those that were summed up; `None` if the summary is theirs.
pub(crate) fn mismatch(text: &[u8], summary: &EvaluationSummary) -> Option<String> {
    let verdicts = lines(text).filter_map(|line| serde_json::from_slice::<Verdict>(line).ok());
    let (found, right) = verdicts.fold((0, 0), |(found, right), verdict| {
        (found + 1, right + u64::from(verdict.correct))
    });
    let EvaluationSummary { problems, correct, .. } = summary;
    if (found, right) != (*problems, *correct) {
        return Some(format!(
            "has {found} answers, {right} of them right, instead of {problems} and {correct}"
        ));
    }
    let (stored, counted) = (of_answers(summary), of_answers(&summary.counted_from(&answers(text)?)));
    let mut pairs = stored.into_iter().zip(counted);
    pairs.find_map(|((key, stored), (_, counted))| {
        (stored != counted).then(|| format!("gives `{key}` {counted}, and `summary.json` says {stored}"))
    })
}

/// The values of a summary that follow from the answers.
fn of_answers(summary: &EvaluationSummary) -> [(&'static str, String); 8] {
    let (low, high) = summary.accuracy_interval;
    [
        ("accuracy", summary.accuracy.to_string()),
        ("accuracy_interval", format!("[{low}, {high}]")),
        ("ungraded", summary.ungraded.to_string()),
        ("without_answer", summary.without_answer.to_string()),
        ("cut", summary.cut.to_string()),
        ("cut_share", summary.cut_share.to_string()),
        ("prompts_too_long", summary.prompts_too_long.to_string()),
        ("tokens", summary.tokens.to_string()),
    ]
}

/// The answers in `text`; `None` if another version wrote them.
pub(crate) fn answers(text: &[u8]) -> Option<Vec<Answered>> {
    lines(text).map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The answers in the text of an unfinished evaluation of the problems with these ids, one of each, and the bytes of the text that
/// count. Lines at the end that cannot be read do not: a kill or a failure of the machine cut them short. Of several answers to
/// one problem, the first counts.
///
/// # Errors
///
/// The number of a line that is no answer to one of the problems, counted from 1, and what is wrong with it.
pub(crate) fn so_far(text: &[u8], ids: &[&str]) -> Result<(Vec<Answered>, usize), (usize, String)> {
    let mut answers: Vec<Answered> = Vec::new();
    let mut answered = BTreeSet::new();
    let (mut whole, mut bytes) = (0, 0);
    let mut unreadable = None;
    for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
        bytes += line.len();
        let parsed = line.strip_suffix(b"\n").map(serde_json::from_slice::<Answered>);
        let Some(Ok(answer)) = parsed else {
            let problem = parsed
                .and_then(Result::err)
                .map_or_else(String::new, |error| error.to_string());
            unreadable.get_or_insert((number, format!("cannot be read: {problem}")));
            continue;
        };
        if let Some(unreadable) = unreadable {
            return Err(unreadable);
        }
        match usize::try_from(answer.index).ok().and_then(|index| ids.get(index)) {
            None => {
                let problem = format!("answers problem {}, and there are {}", answer.index, ids.len());
                return Err((number, problem));
            }
            Some(&id) if id != answer.id => {
                let problem = format!("answers `{}`, and problem {} is `{id}`", answer.id, answer.index);
                return Err((number, problem));
            }
            Some(_) => {}
        }
        whole = bytes;
        if answered.insert(answer.index) {
            answers.push(answer);
        }
    }
    Ok((answers, whole))
}

/// The whole lines of a text, without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnswerEnd, GraderIdentity};

    fn answered(index: u64) -> Answered {
        Answered {
            index,
            id: format!("p{index}"),
            correct: true,
            ungraded: None,
            expected: "1".into(),
            found: None,
            end: AnswerEnd::Stopped,
            tokens: 3,
            question: "q".into(),
            text: format!("t{index}"),
        }
    }

    fn lines_of(answers: &[Answered]) -> String {
        let lines = answers.iter().map(|answer| serde_json::to_string(answer).unwrap());
        lines.map(|line| line + "\n").collect()
    }

    #[test]
    fn a_problem_counts_once_and_an_answer_to_another_problem_is_refused() {
        let ids = ["p0", "p1", "p2"];
        let again = Answered {
            text: "other".into(),
            ..answered(1)
        };
        let text = lines_of(&[answered(1), answered(0), again, answered(0)]);
        let (found, whole) = so_far(text.as_bytes(), &ids).unwrap();
        assert_eq!((found, whole), (vec![answered(1), answered(0)], text.len()));
        let text = lines_of(&[answered(0), answered(3)]);
        let (line, problem) = so_far(text.as_bytes(), &ids).unwrap_err();
        assert_eq!((line, problem.as_str()), (2, "answers problem 3, and there are 3"));
        let other = Answered {
            id: "mine".into(),
            ..answered(2)
        };
        let (line, problem) = so_far(lines_of(&[other]).as_bytes(), &ids).unwrap_err();
        assert_eq!((line, problem.as_str()), (1, "answers `mine`, and problem 2 is `p2`"));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_dropped_at_the_end_and_refused_before_answers() {
        let ids = ["p0", "p1"];
        let whole = lines_of(&[answered(0)]);
        for end in ["{\"index\": 1", "\0\0\0\n", "{}\n\0"] {
            let text = whole.clone() + end;
            assert_eq!(so_far(text.as_bytes(), &ids).unwrap(), (vec![answered(0)], whole.len()));
        }
        let text = format!("{whole}{{\"index\": \n{}", lines_of(&[answered(1)]));
        let (line, problem) = so_far(text.as_bytes(), &ids).unwrap_err();
        assert!(line == 2 && problem.starts_with("cannot be read: "), "{line} {problem}");
    }

    #[test]
    fn answers_that_are_missing_short_or_edited_are_told_from_those_that_were_summed_up() {
        let answered = |index: u64| Answered {
            index,
            id: index.to_string(),
            correct: index != 1,
            ungraded: None,
            expected: "1".into(),
            found: None,
            end: AnswerEnd::Stopped,
            tokens: 3,
            question: "q".into(),
            text: "t".into(),
        };
        let all = [0, 1, 2].map(answered);
        let summary = EvaluationSummary::new(&all, GraderIdentity::built_in(), (1.0, 9), None);
        let whole: String = all
            .iter()
            .map(|answer| serde_json::to_string(answer).unwrap() + "\n")
            .collect();
        assert_eq!(mismatch(whole.as_bytes(), &summary), None);
        assert_eq!(answers(whole.as_bytes()).unwrap(), all);
        let second = whole.find('\n').unwrap() + 1;
        for (text, found) in [
            ("", "has 0 answers, 0 of them right, instead of 3 and 2"),
            (&whole[second..], "has 2 answers, 1 of them right, instead of 3 and 2"),
            (
                &whole[..whole.len() - 1],
                "has 2 answers, 1 of them right, instead of 3 and 2",
            ),
            (
                &whole.replace("\"correct\":false", "\"correct\":true"),
                "has 3 answers, 3 of them right, instead of 3 and 2",
            ),
        ] {
            assert_eq!(mismatch(text.as_bytes(), &summary).as_deref(), Some(found));
        }
    }

    #[test]
    fn a_summary_with_values_that_its_answers_do_not_have_is_told() {
        let all = [answered(0), answered(1)];
        let summary = EvaluationSummary::new(&all, GraderIdentity::built_in(), (1.0, 6), None);
        let text = lines_of(&all);
        let said = |change: fn(&mut EvaluationSummary)| {
            let mut forged = summary.clone();
            change(&mut forged);
            mismatch(text.as_bytes(), &forged).unwrap_or_default()
        };
        for (said, expected) in [
            (
                said(|summary| summary.accuracy = 0.5),
                "gives `accuracy` 1, and `summary.json` says 0.5",
            ),
            (
                said(|summary| summary.accuracy_interval.1 = 0.9),
                "gives `accuracy_interval` [0.34",
            ),
            (
                said(|summary| summary.ungraded = 1),
                "gives `ungraded` 0, and `summary.json` says 1",
            ),
            (
                said(|summary| summary.without_answer = 0),
                "gives `without_answer` 2, and `summary.json` says 0",
            ),
            (
                said(|summary| summary.cut = 1),
                "gives `cut` 0, and `summary.json` says 1",
            ),
            (
                said(|summary| summary.cut_share = f64::NAN),
                "gives `cut_share` 0, and `summary.json` says NaN",
            ),
            (
                said(|summary| summary.prompts_too_long = 1),
                "gives `prompts_too_long` 0, and `summary.json` says 1",
            ),
            (
                said(|summary| summary.tokens = 7),
                "gives `tokens` 6, and `summary.json` says 7",
            ),
        ] {
            assert!(said.starts_with(expected), "{said}");
        }
        // What the process that generated measured does not follow from the answers.
        assert_eq!(said(|summary| summary.tokens_per_second = 1e6), "");
    }
}
