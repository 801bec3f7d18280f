//! Time and memory of training against the lead-span proportion.

use super::{Part, plots::PlotOf};
use crate::{
    ExperimentError, Kind, Run,
    report::{
        measure::{memory, seconds},
        series::{Series, by_proportion},
        shown::{self, Unit},
    },
};

/// Reads a value of a run.
type Value = fn(&Run) -> Option<f64>;

pub(super) fn part(series: &[Series]) -> Result<Part, ExperimentError> {
    let mut part = Part::new("cost", "Time and memory against proportion");
    part.text
        .push("Time is that of all steps; memory is the peak of the whole process that trained.".into());
    let compared = || {
        series
            .iter()
            .filter(|series| matches!(series.kind, Kind::Distilled | Kind::Supervised))
    };
    let values: [(&'static str, &str, Value, &[Unit]); 2] = [
        ("time", "Training time", seconds, &shown::TIMES),
        ("memory", "Peak memory", memory, &shown::SIZES),
    ];
    for (id, name, value, units) in values {
        let most = compared()
            .flat_map(|series| &series.runs)
            .filter_map(|run| value(run))
            .fold(0.0, f64::max);
        let unit = shown::unit(most, units);
        let in_unit = |run: &Run| Some(value(run)? / unit.amount);
        let lines = compared()
            .map(|series| (series, by_proportion(&series.runs, in_unit)))
            .collect();
        let plot = PlotOf {
            id,
            title: format!("{name} ({})", unit.name),
            y_shown: shown::digits,
            y_from: Some(0.0),
            cell: |value| format!("{value:.2}"),
        };
        part.figures.extend(plot.against_proportion(lines)?);
    }
    if part.figures.is_empty() {
        part.text.push("No training is finished.".into());
    }
    Ok(part)
}
