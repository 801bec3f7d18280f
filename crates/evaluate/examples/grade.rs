//! The built-in rules as a grader: reads and writes the JSON lines of `evaluate.grader`.
//!
//! `tests/compare/grading_math_verify.sh` compares it with other graders.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    error::Error,
    io::{self, BufRead as _},
};

use leadspan_evaluate::{answer_of_reference, answer_of_text, same_answer};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| request[key].as_str().ok_or_else(|| format!("`{key}` is no text"));
        let expected = answer_of_reference(text("reference")?, "</think>", None);
        let found = answer_of_text(text("text")?, "</think>", None);
        let correct = found.as_deref().is_some_and(|found| same_answer(&expected, found));
        println!(
            "{}",
            json!({ "index": request["index"], "correct": correct, "found": found })
        );
    }
    Ok(())
}
