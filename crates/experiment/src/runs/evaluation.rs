//! How a run's student did on problems, as `leadspan evaluate` wrote it into the run's folder.

use std::path::Path;

use serde::Deserialize;

use super::{
    HeldOut,
    read::{json, json_lines},
};
use crate::ExperimentError;

/// How a student did on problems.
#[derive(Clone, Debug, Deserialize)]
pub struct Evaluation {
    /// The share of problems that were answered right.
    pub accuracy: f64,
    /// Its 95 % interval over problems.
    pub accuracy_interval: Option<(f64, f64)>,
    /// How many problems there were.
    pub problems: u64,
    /// Held-out losses, where they were measured.
    pub held_out: Option<HeldOut>,
    /// Each problem's outcome, in the order of the problems.
    #[serde(skip)]
    pub graded: Vec<Graded>,
}

/// One problem and what became of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Graded {
    /// The problem's id.
    pub id: String,
    /// Whether the answer was right.
    pub correct: bool,
    /// The right answer.
    pub expected: String,
    /// The answer found in what the student wrote.
    pub found: Option<String>,
    /// What was asked.
    pub question: String,
    /// What the student wrote.
    pub text: String,
}

/// Reads the evaluation in the folder of a run; `None` where there is none that was finished.
pub(super) fn read(run: &Path) -> Result<Option<Evaluation>, ExperimentError> {
    let folder = run.join("evaluation");
    let Some(mut evaluation) = json::<Evaluation>(folder.join("summary.json"))? else {
        return Ok(None);
    };
    evaluation.graded = json_lines(&folder.join("answers.jsonl"))?;
    Ok(Some(evaluation))
}
