//! How good a model is: problems put to it and its answers graded, and losses on samples held out.
//!
//! [`run`] reads problems, renders each through the model's own chat template, lets the model answer, finds the answer in
//! what it wrote and compares it with the right one. Where there is a cache of the model's tokenizer, it also measures
//! cross-entropy, divergence from the teacher and agreement with it on the whole validation samples.
//!
//! ```text
//! EVALUATION/
//!   evaluation.json        what was asked of which model, and how
//!   answers.partial.jsonl  a line for each problem answered so far, in the order in which they were finished
//!   answers.jsonl          at the end: a line for each problem, in the order of the problems
//!   failures.md            the wrong answers, for a person to read
//!   summary.json           written last: an evaluation with it is done
//! ```
//!
//! An answer depends on the model, the problem and the settings, and neither on the batch nor on an interruption: a stopped
//! evaluation goes on with what is missing, and ends with the same `answers.jsonl` and `failures.md` as one that was not.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod asking;
mod error;
mod evaluation_dir;
mod failures;
mod interval;
mod run;
mod settings;
mod summary;

pub use answer::{AnswerPattern, answer_of_reference, answer_of_text, same_answer};
pub use error::EvaluateError;
pub use interval::wilson_interval;
pub use run::{Evaluation, EvaluationContext, Event, HeldOutLosses, Outcome, run};
pub use settings::EvaluateSettings;
pub use summary::{AnswerEnd, Answered, EvaluationSummary};
