//! Whether the answers on record are those that were summed up.

use serde::Deserialize;

use crate::{Answered, EvaluationSummary};

/// What an answer must have, whichever version wrote it.
#[derive(Deserialize)]
struct Verdict {
    correct: bool,
}

/// How the answers in `text` differ from those that were summed up; `None` if their numbers are the same.
pub(crate) fn mismatch(text: &[u8], summary: &EvaluationSummary) -> Option<String> {
    let verdicts = lines(text).filter_map(|line| serde_json::from_slice::<Verdict>(line).ok());
    let (found, right) = verdicts.fold((0, 0), |(found, right), verdict| {
        (found + 1, right + u64::from(verdict.correct))
    });
    let EvaluationSummary { problems, correct, .. } = summary;
    ((found, right) != (*problems, *correct))
        .then(|| format!("has {found} answers, {right} of them right, instead of {problems} and {correct}"))
}

/// The answers in `text`; `None` if another version wrote them.
pub(crate) fn answers(text: &[u8]) -> Option<Vec<Answered>> {
    lines(text).map(|line| serde_json::from_slice(line).ok()).collect()
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
}
