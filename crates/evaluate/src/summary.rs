//! What came of an evaluation: of each problem, and of all.

use leadspan_train::HeldOut;
use serde::{Deserialize, Serialize};

use crate::wilson_interval;

/// What a model made of one problem: a line of `answers.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The place of the problem among all, from 0.
    pub index: u64,
    /// The problem's id.
    pub id: String,
    /// Whether the answer is right.
    pub correct: bool,
    /// The right answer.
    pub expected: String,
    /// The model's answer, where one was found.
    pub found: Option<String>,
    /// How the text came to its end.
    pub end: AnswerEnd,
    /// Tokens generated, without the stop token.
    pub tokens: usize,
    /// The last turn that the model was given.
    pub question: String,
    /// What it wrote.
    pub text: String,
}

/// How a text came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerEnd {
    /// The model ended it.
    Stopped,
    /// It reached the most tokens that are allowed, or the end of the model's context.
    Cut,
    /// The problem alone fills the model's context: nothing was asked.
    PromptTooLong,
}

/// What came of all problems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSummary {
    /// Problems.
    pub problems: u64,
    /// Right answers.
    pub correct: u64,
    /// Their share.
    pub accuracy: f64,
    /// The lower and upper end of its 95 % interval.
    pub accuracy_interval: (f64, f64),
    /// Texts in which no answer was found.
    pub without_answer: u64,
    /// Texts that were cut at the limit.
    pub cut: u64,
    /// Their share.
    pub cut_share: f64,
    /// Problems that fill the model's context.
    pub prompts_too_long: u64,
    /// Tokens generated.
    pub tokens: u64,
    /// Seconds of generation in the process that finished the evaluation, and tokens a second in these.
    pub seconds: f64,
    /// 0 where that process had nothing left to generate.
    pub tokens_per_second: f64,
    /// Held-out losses, where there is a cache to measure them on.
    pub held_out: Option<HeldOut>,
}

impl EvaluationSummary {
    /// Sums up.
    pub(crate) fn new(answers: &[Answered], pace: (f64, u64), held_out: Option<HeldOut>) -> Self {
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
            without_answer: count(&|answer| answer.found.is_none()),
            cut,
            cut_share: share(cut),
            prompts_too_long: count(&|answer| answer.end == AnswerEnd::PromptTooLong),
            tokens: answers.iter().map(|answer| answer.tokens as u64).sum(),
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
