//! A run's losses, step by step.

use std::path::Path;

use serde::Deserialize;

use super::{HeldOut, json_files::json_lines};
use crate::ExperimentError;

/// Losses while a run was trained.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The loss of each step.
    pub steps: Vec<StepLoss>,
    /// Held-out losses, each with the number of steps before it.
    pub held_out: Vec<(u64, HeldOut)>,
    /// The number of steps of the whole run.
    pub all_steps: Option<u64>,
}

/// The loss of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// The step, counted from 1.
    pub step: u64,
    /// The loss that was minimised.
    pub loss: f64,
}

/// A line of `metrics.jsonl`.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Step {
        step: u64,
        steps: Option<u64>,
        loss: f64,
    },
    Validation {
        step: u64,
        #[serde(flatten)]
        held_out: HeldOut,
    },
    /// Any event of a later version.
    #[serde(other)]
    Other,
}

impl Metrics {
    pub(super) fn read(path: &Path) -> Result<Self, ExperimentError> {
        let mut metrics = Self::default();
        for line in json_lines(path)? {
            match line {
                Line::Step { step, steps, loss } => {
                    metrics.steps.push(StepLoss { step, loss });
                    metrics.all_steps = steps.or(metrics.all_steps);
                }
                Line::Validation { step, held_out } => metrics.held_out.push((step, held_out)),
                Line::Other => {}
            }
        }
        Ok(metrics)
    }
}
