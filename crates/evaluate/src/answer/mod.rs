//! Answers: found in generated text, and compared with the right answer.

mod compare;
mod extract;
mod number;

pub use compare::same_answer;
pub use extract::{AnswerPattern, answer_of_reference, answer_of_text};
