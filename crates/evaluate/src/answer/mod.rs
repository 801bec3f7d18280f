//! Answers: found in generated text, and compared with the right answer.
//!
//! `extract` finds the answer. `compare` says whether two answers are the same: as numbers, which `number` reads with their
//! `unit`, or as lists of `tokens`. The rules are few and strict: what needs algebra belongs to a grader outside the program.

mod alone;
mod alternatives;
mod bare;
mod beside;
mod boxed;
mod characters;
mod clean;
mod compare;
mod extract;
mod number;
mod phrase;
mod prose;
mod rational;
mod reader;
mod remark;
mod surroundings;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_found;
#[cfg(test)]
mod tests_parts;
mod tokens;
mod touching;
mod unit;
mod unit_words;

pub use compare::same_answer;
pub use extract::{AnswerPattern, answer_of_reference, answer_of_text, is_sentence};
