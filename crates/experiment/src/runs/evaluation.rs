//! The results of a run's student on problems, as `leadspan evaluate` writes them into the run's folder.

use std::path::Path;

use leadspan_files::require_own_folder;
use serde::Deserialize;
use serde_json::Value;

use super::{
    HeldOut,
    json_files::{json, json_lines},
    ranges::{is_interval, of_losses},
};
use crate::ExperimentError;

/// The results of a student on problems.
#[derive(Clone, Debug)]
pub struct EvaluationResults {
    /// The share of problems with a right answer.
    pub accuracy: f64,
    /// Its 95 % interval over problems.
    pub accuracy_interval: Option<(f64, f64)>,
    /// The number of problems.
    pub problems: u64,
    /// Their number and the beginning of their hash, if it is on record: what tells problems apart.
    pub(super) asked: Option<String>,
    /// The number of answers on which the grader gave no verdict. They do not count as right.
    pub ungraded: u64,
    /// Held-out losses, if they were measured.
    pub held_out: Option<HeldOut>,
    /// The graded answers, in the order of the problems; none if they are not on record.
    pub graded: Vec<Graded>,
}

/// `summary.json` as an evaluation writes it. Older versions lack what is optional.
#[derive(Deserialize)]
struct Summary {
    problems: u64,
    correct: u64,
    accuracy: f64,
    accuracy_interval: Option<(f64, f64)>,
    #[serde(default)]
    ungraded: u64,
    without_answer: Option<u64>,
    cut: Option<u64>,
    prompts_too_long: Option<u64>,
    tokens: Option<u64>,
    held_out: Option<HeldOut>,
}

/// One problem and its graded answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Graded {
    /// The problem's id.
    pub id: String,
    /// Whether the answer was right.
    pub correct: bool,
    /// Why the grader gave no verdict on it, if it gave none.
    #[serde(default)]
    pub ungraded: Option<String>,
    /// The right answer.
    pub expected: String,
    /// The answer found in the student's text, if any.
    pub found: Option<String>,
    /// The last turn of the prompt.
    pub question: String,
    /// The text that the student generated.
    pub text: String,
    /// The index of the problem.
    index: Option<u64>,
    /// How the text ended.
    end: Option<String>,
    /// The number of its tokens.
    tokens: Option<u64>,
}

impl Summary {
    /// The share of right answers.
    fn accuracy(&self) -> f64 {
        self.correct as f64 / self.problems.max(1) as f64
    }

    /// Checks the summary against itself, the number of problems `asked` and the answers on record.
    ///
    /// # Errors
    ///
    /// What cannot be right in it.
    fn check(&self, asked: Option<u64>, answers: Option<&[Graded]>) -> Result<(), String> {
        let Self { problems, correct, .. } = self;
        let accuracy = self.accuracy();
        if correct > problems {
            return Err(format!("says that {correct} of {problems} answers are right"));
        }
        if (self.accuracy - accuracy).abs() > 1e-9 {
            let stored = self.accuracy;
            return Err(format!(
                "says that `accuracy` is {stored}, and that {correct} of {problems} answers are right"
            ));
        }
        if let Some(interval) = self.accuracy_interval
            && !is_interval(interval, accuracy, *problems)
        {
            return Err(format!(
                "has another `accuracy_interval` than {correct} right answers of {problems}"
            ));
        }
        if let Some(asked) = asked.filter(|asked| asked != problems) {
            return Err(format!(
                "sums up {problems} problems, and `evaluation.json` has {asked}"
            ));
        }
        self.held_out.as_ref().map_or(Ok(()), of_losses)?;
        let Some(answers) = answers else {
            return Ok(());
        };
        let count = |of: &dyn Fn(&Graded) -> bool| answers.iter().filter(|answer| of(answer)).count() as u64;
        let ended = |end: &str| count(&|answer| answer.end.as_deref() == Some(end));
        let has_ends = answers.iter().all(|answer| answer.end.is_some());
        let tokens = answers
            .iter()
            .try_fold(0_u64, |sum, answer| sum.checked_add(answer.tokens?));
        for (name, stored, found) in [
            ("problems", Some(*problems), Some(answers.len() as u64)),
            ("correct", Some(*correct), Some(count(&|answer| answer.correct))),
            (
                "ungraded",
                Some(self.ungraded),
                Some(count(&|answer| answer.ungraded.is_some())),
            ),
            (
                "without_answer",
                self.without_answer,
                Some(count(&|answer| answer.found.is_none())),
            ),
            ("cut", self.cut, has_ends.then(|| ended("cut"))),
            (
                "prompts_too_long",
                self.prompts_too_long,
                has_ends.then(|| ended("prompt_too_long")),
            ),
            ("tokens", self.tokens, tokens),
        ] {
            if let (Some(stored), Some(found)) = (stored, found)
                && stored != found
            {
                return Err(format!(
                    "says that `{name}` is {stored}, and `answers.jsonl` has {found}"
                ));
            }
        }
        Ok(())
    }
}

/// Checks that each problem has one answer, and that no answer without a verdict is right.
///
/// # Errors
///
/// What cannot be right in them.
fn check_answers(answers: &[Graded]) -> Result<(), String> {
    for (place, answer) in (0..).zip(answers) {
        if let Some(index) = answer.index.filter(|&index| index != place) {
            return Err(format!(
                "has the answer to problem {index} in the place of problem {place}"
            ));
        }
        if answer.correct && answer.ungraded.is_some() {
            return Err(format!(
                "says that the answer to problem {place} is right, and why it has no verdict"
            ));
        }
    }
    Ok(())
}

/// Reads the evaluation in the folder of a run; `None` if there is no finished one.
pub(super) fn read(run: &Path) -> Result<Option<EvaluationResults>, ExperimentError> {
    let folder = run.join("evaluation");
    require_own_folder(&folder).map_err(|source| ExperimentError::Io {
        action: "use",
        path: folder.clone(),
        source,
    })?;
    let at = |name: &str| folder.join(name);
    let Some(summary) = json::<Summary>(at("summary.json"))? else {
        return Ok(None);
    };
    let has_answers = at("answers.jsonl").symlink_metadata().is_ok();
    let graded: Vec<Graded> = json_lines(&at("answers.jsonl"))?;
    let identity: Option<Value> = json(at("evaluation.json"))?;
    let of_problems = identity
        .map(|mut identity| identity["problems"].take())
        .unwrap_or_default();
    let asked = of_problems["count"].as_u64();
    let contradicts = |name: &str| {
        let path = at(name);
        move |problem| ExperimentError::Contradicts { path, problem }
    };
    check_answers(&graded).map_err(contradicts("answers.jsonl"))?;
    let answers = has_answers.then_some(&graded[..]);
    summary.check(asked, answers).map_err(contradicts("summary.json"))?;
    Ok(Some(EvaluationResults {
        accuracy: summary.accuracy(),
        accuracy_interval: summary.accuracy_interval,
        problems: summary.problems,
        asked: of_problems["content"]
            .as_str()
            .map(|content| format!("{} ({})", summary.problems, content.get(..8).unwrap_or(content))),
        ungraded: summary.ungraded,
        held_out: summary.held_out,
        graded,
    }))
}
