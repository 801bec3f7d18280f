//! The table of runs: one line for each run as it ends.

use std::fmt::Write as _;

use leadspan_experiment::{Run, read_runs};

use super::jobs::{Job, Sweep};
use crate::amounts::{bytes, grouped, short, short_duration};

/// The columns whose widths do not depend on the sweep, with their widths.
const COLUMNS: [(&str, usize); 5] = [
    ("accuracy", 8),
    ("held-out KL", 11),
    ("training", 11),
    ("time", 8),
    ("memory", 10),
];

/// The layout of the table.
pub(super) struct RunTable {
    name_width: usize,
    evaluate: bool,
}

impl RunTable {
    pub(super) fn new(sweep: &Sweep) -> Self {
        let longest = sweep.jobs.iter().map(|job| job.planned.name.len()).max();
        Self {
            name_width: longest.unwrap_or(0).max(3),
            evaluate: sweep.evaluate,
        }
    }

    /// The line with the names of the columns.
    pub(super) fn head(&self) -> String {
        self.line("run", COLUMNS.map(|(name, _)| name.to_owned()), "state")
    }

    /// The line of a run: if `good`, with the quality, operations, time and memory of its training.
    pub(super) fn row(&self, job: &Job, state: &str, good: bool) -> String {
        let read = || read_runs(std::slice::from_ref(&job.folder)).ok();
        let run = good.then(read).flatten().and_then(|runs| runs.into_iter().next());
        let summary = run.as_ref().and_then(Run::summary);
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        let evaluation = run.as_ref().and_then(|run| run.evaluation.as_ref());
        let accuracy = evaluation.map(|of| of.accuracy);
        let state = match evaluation.map_or(0, |of| of.ungraded) {
            0 => state.to_owned(),
            ungraded => format!("{state}, {} ungraded", grouped(ungraded)),
        };
        let forward_kl = run
            .as_ref()
            .and_then(Run::held_out)
            .and_then(|held_out| held_out.forward_kl);
        let cells = [
            or_none(accuracy.map(|share| format!("{:.1} %", 100.0 * share))),
            or_none(forward_kl.map(|loss| format!("{loss:.4}"))),
            or_none(summary.and_then(|summary| summary.training_flops).map(flops)),
            or_none(summary.map(|summary| short_duration(summary.seconds))),
            or_none(summary.and_then(|summary| summary.peak_memory_bytes).map(bytes)),
        ];
        self.line(&job.planned.name, cells, &state)
    }

    fn line(&self, name: &str, cells: [String; 5], state: &str) -> String {
        let first = usize::from(!self.evaluate);
        let mut line = format!("{name:<width$}", width = self.name_width);
        for ((_, width), cell) in COLUMNS.iter().zip(cells).skip(first) {
            let _ = write!(line, "  {cell:>width$}");
        }
        line + "  " + state
    }
}

fn flops(flops: f64) -> String {
    let amount = short(flops);
    if amount.contains(' ') {
        format!("{amount}FLOP")
    } else {
        format!("{amount} FLOP")
    }
}
