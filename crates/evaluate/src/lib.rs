//! Evaluates a model: it answers problems, its answers are graded, and its losses on held-out samples are measured.
//!
//! [`run`] reads problems, renders each through the model's own chat template, lets the model answer, finds the answer in the
//! generated text and compares it with the right one, or lets a program outside this one (`evaluate.grader`) do so. If there is a cache with the model's tokenizer, it also measures
//! cross-entropy, divergence from the teacher and agreement with it on the whole validation samples.
//!
//! ```text
//! EVALUATION/
//!   evaluation.json        the identity: the model, the problems and the settings
//!   answers.partial.jsonl  a line for each problem answered so far, in the order in which they were finished; graded anew on
//!                          resumption
//!   answers.jsonl          at the end: a line for each problem, in the order of the problems
//!   failures.md            the wrong answers, for people
//!   summary.json           written last: with it, an evaluation is finished
//! ```
//!
//! An answer depends on the model, the problem and the settings, but not on the batch or an interruption. A stopped evaluation
//! continues with the missing problems, and ends with the same `answers.jsonl` and `failures.md` as an uninterrupted one.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod asking;
mod error;
mod evaluation_dir;
mod events;
mod failures;
mod grader;
mod held_out;
mod interval;
mod results;
mod run;
mod settings;
mod stops;
mod summary;

pub use answer::{AnswerPattern, answer_of_reference, answer_of_text, is_sentence, same_answer};
pub use error::EvaluateError;
pub use events::{EvaluationContext, EvaluationEvent, HeldOutLosses};
pub use grader::{GraderFault, GraderIdentity};
pub use interval::wilson_interval;
pub use run::{Evaluation, EvaluationOutcome, run};
pub use settings::EvaluateSettings;
pub use summary::{AnswerEnd, Answered, EvaluationSummary};
