//! The results of a run's student on problems, as `leadspan evaluate` writes them into the run's folder.

use std::path::Path;

use leadspan_files::require_own_folder;
use serde::Deserialize;

use super::{
    HeldOut,
    json_files::{json, json_lines},
};
use crate::ExperimentError;

/// The results of a student on problems.
#[derive(Clone, Debug, Deserialize)]
pub struct EvaluationResults {
    /// The share of problems with a right answer.
    pub accuracy: f64,
    /// Its 95 % interval over problems.
    pub accuracy_interval: Option<(f64, f64)>,
    /// The number of problems.
    pub problems: u64,
    /// The number of answers on which the grader gave no verdict. They do not count as right.
    #[serde(default)]
    pub ungraded: u64,
    /// Held-out losses, if they were measured.
    pub held_out: Option<HeldOut>,
    /// The graded answers, in the order of the problems.
    #[serde(skip)]
    pub graded: Vec<Graded>,
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
}

/// Reads the evaluation in the folder of a run; `None` if there is no finished one.
pub(super) fn read(run: &Path) -> Result<Option<EvaluationResults>, ExperimentError> {
    let folder = run.join("evaluation");
    require_own_folder(&folder).map_err(|source| ExperimentError::Io {
        action: "use",
        path: folder.clone(),
        source,
    })?;
    let Some(mut evaluation) = json::<EvaluationResults>(folder.join("summary.json"))? else {
        return Ok(None);
    };
    evaluation.graded = json_lines(&folder.join("answers.jsonl"))?;
    Ok(Some(evaluation))
}
