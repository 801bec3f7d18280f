//! A run's losses, step by step.

use std::path::Path;

use serde::Deserialize;

use super::{HeldOut, json_files::json_lines, ranges::of_losses};
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
    /// The tokens of all steps, if each step has recorded them.
    pub tokens: Option<u64>,
    /// The operations of all steps, as the last one has recorded them.
    pub training_flops: Option<f64>,
    /// The bytes of distributions that all steps have read, as the last one has recorded them.
    pub cache_bytes_read: Option<u64>,
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
        tokens: Option<u64>,
        training_flops: Option<f64>,
        cache_bytes_read: Option<u64>,
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
        let mut metrics = Self {
            tokens: Some(0),
            ..Self::default()
        };
        let contradiction = |problem| ExperimentError::Contradicts {
            path: path.to_owned(),
            problem,
        };
        for line in json_lines(path)? {
            match line {
                Line::Step {
                    step,
                    steps,
                    loss,
                    tokens,
                    training_flops,
                    cache_bytes_read,
                } => {
                    let last = metrics.steps.last().map_or(0, |last| last.step);
                    metrics.all_steps = steps.or(metrics.all_steps);
                    if step <= last || metrics.all_steps.is_some_and(|all| step > all) {
                        let of = metrics.all_steps.map_or_else(String::new, |all| format!(" of {all}"));
                        return Err(contradiction(format!("has step {step}{of} behind step {last}")));
                    }
                    metrics.steps.push(StepLoss { step, loss });
                    metrics.tokens = metrics.tokens.zip(tokens).and_then(|(sum, more)| sum.checked_add(more));
                    metrics.training_flops = training_flops;
                    metrics.cache_bytes_read = cache_bytes_read;
                }
                Line::Validation { step, held_out } => {
                    of_losses(&held_out).map_err(contradiction)?;
                    metrics.held_out.push((step, held_out));
                }
                Line::Other => {}
            }
        }
        Ok(metrics)
    }
}
