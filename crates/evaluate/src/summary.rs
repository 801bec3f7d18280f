//! The results of an evaluation: of each problem, and of all.

use leadspan_train::HeldOut;
use serde::{Deserialize, Serialize};

use crate::{GraderIdentity, wilson_interval};

/// The graded answer to one problem: a line of `answers.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The index of the problem, counted from 0.
    pub index: u64,
    /// The problem's id.
    pub id: String,
    /// Whether the answer is right.
    pub correct: bool,
    /// Why the grader gives no verdict, if it gives none. Such an answer does not count as right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ungraded: Option<String>,
    /// The right answer.
    pub expected: String,
    /// The model's answer, if one was found.
    pub found: Option<String>,
    /// How the text ended.
    pub end: AnswerEnd,
    /// The number of generated tokens, without the stop token.
    pub tokens: usize,
    /// The last turn of the prompt.
    pub question: String,
    /// The generated text.
    pub text: String,
}

/// How a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerEnd {
    /// The model generated a stop token.
    Stopped,
    /// It reached the limit of tokens, or the end of the model's context.
    Cut,
    /// The prompt fills the model's context, so the model was not asked.
    PromptTooLong,
}

/// The summary of all problems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSummary {
    /// The number of problems.
    pub problems: u64,
    /// The number of right answers.
    pub correct: u64,
    /// The share of right answers.
    pub accuracy: f64,
    /// The lower and upper end of the accuracy's 95 % interval.
    pub accuracy_interval: (f64, f64),
    /// What gave the verdicts; absent in the results of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<GraderIdentity>,
    /// The number of answers on which the grader gave no verdict. They do not count as right.
    #[serde(default)]
    pub ungraded: u64,
    /// The number of texts in which no answer was found.
    pub without_answer: u64,
    /// The number of texts that were cut at the limit.
    pub cut: u64,
    /// The share of texts that were cut at the limit.
    pub cut_share: f64,
    /// The number of problems whose prompts fill the model's context.
    pub prompts_too_long: u64,
    /// The number of generated tokens.
    pub tokens: u64,
    /// The seconds of generation in the process that finished the evaluation.
    pub seconds: f64,
    /// Tokens per second in that process; 0 if it had nothing left to generate.
    pub tokens_per_second: f64,
    /// Held-out losses, if there is a cache to measure them on.
    pub held_out: Option<HeldOut>,
}

impl EvaluationSummary {
    /// This summary as it would be with `answers`: with other counts and shares, and the same measurements.
    pub(crate) fn counted_from(&self, answers: &[Answered]) -> Self {
        let grader = self.grader.clone().unwrap_or_else(GraderIdentity::built_in);
        Self {
            grader: self.grader.clone(),
            tokens_per_second: self.tokens_per_second,
            ..Self::new(answers, grader, (self.seconds, 0), self.held_out)
        }
    }

    /// Summarizes `answers`. `pace` is the seconds of generation of this process and the tokens generated in them.
    pub(crate) fn new(
        answers: &[Answered],
        grader: GraderIdentity,
        pace: (f64, u64),
        held_out: Option<HeldOut>,
    ) -> Self {
        let count = |of: &dyn Fn(&Answered) -> bool| answers.iter().filter(|answer| of(answer)).count() as u64;
        let problems = answers.len() as u64;
        let correct = count(&|answer| answer.correct);
        let cut = count(&|answer| answer.end == AnswerEnd::Cut);
        let share = |part: u64| part as f64 / problems.max(1) as f64;
        let (seconds, tokens_now) = pace;
        Self {
            problems,
            correct,
            accuracy: share(correct),
            accuracy_interval: wilson_interval(correct, problems),
            grader: Some(grader),
            ungraded: count(&|answer| answer.ungraded.is_some()),
            without_answer: count(&|answer| answer.found.is_none()),
            cut,
            cut_share: share(cut),
            prompts_too_long: count(&|answer| answer.end == AnswerEnd::PromptTooLong),
            // The answers may be a stranger's.
            tokens: answers
                .iter()
                .fold(0_u64, |sum, answer| sum.saturating_add(answer.tokens as u64)),
            seconds,
            tokens_per_second: if seconds > 0.0 {
                tokens_now as f64 / seconds
            } else {
                0.0
            },
            held_out,
        }
    }
}
