//! Quality against the operations of training.

use super::{
    Part, equal_compute,
    plots::{capitalised, described, mark},
};
use crate::{
    Estimate, ExperimentError, Kind,
    report::{
        figure::{Figure, Table},
        measure::{Measure, flops},
        plot::{Line, Plot, Shape},
        series::Series,
        shown,
    },
};

pub(super) fn part(series: &[Series], measure: Option<Measure>) -> Result<Part, ExperimentError> {
    let mut part = Part::new("compute", "Quality against compute");
    let Some(measure) = measure else {
        part.text.push("There is no quality to show.".into());
        return Ok(part);
    };
    let mut numbers = Table::new(
        format!("{} against operations of training", capitalised(measure.name())),
        &["runs", "proportion", "training FLOPs", measure.name()],
    );
    let mut lines = Vec::new();
    for series in series.iter().filter(|series| series.kind != Kind::Untrained) {
        let mut points = Vec::new();
        for group in &series.groups {
            let runs = &group.runs;
            let operations = Estimate::of(&runs.iter().filter_map(|run| flops(run)).collect::<Vec<_>>());
            let (Some(operations), Some(quality)) = (operations, measure.estimate(runs.iter().copied())) else {
                continue;
            };
            points.push(mark(operations.mean, &quality));
            numbers.rows.push(vec![
                group.label.clone(),
                runs[0].shown_lead_span().unwrap_or_else(|| "not recorded".into()),
                shown::amount(operations.mean, &shown::OPERATIONS),
                shown::estimate(&quality, |value| measure.shown(value)),
            ]);
        }
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        if !points.is_empty() {
            lines.push(Line {
                label: series.label.clone(),
                points,
                shape: Shape::Marked,
            });
        }
    }
    if lines.is_empty() {
        part.text
            .push("The operations of training were not recorded for these runs.".into());
        return Ok(part);
    }
    part.text.push(
        "Operations are the additions and multiplications of the matrix products in forward and backward passes, which are three \
         times those of the forward pass. Recomputation by activation checkpointing is not counted."
            .into(),
    );
    if !series.iter().any(|series| series.kind == Kind::EqualCompute) {
        part.text.push(
            "There is no run on whole sequences that was stopped at the operations of a shorter proportion.".into(),
        );
    }
    part.text.extend(equal_compute::ended_early(series));
    let most = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|mark| mark.x)
        .fold(0.0, f64::max);
    let unit = shown::unit(most, &shown::OPERATIONS);
    for mark in lines.iter_mut().flat_map(|line| &mut line.points) {
        mark.x /= unit.amount;
    }
    let plot = Plot {
        title: format!("{} against operations", capitalised(measure.name())),
        x: unit.name,
        x_from: Some(0.0),
        x_shown: shown::digits,
        y_shown: match measure {
            Measure::Accuracy => |value| format!("{:.0} %", 100.0 * value),
            _ => |value| format!("{value:.2}"),
        },
        y_from: (measure == Measure::Accuracy).then_some(0.0),
        lines,
    };
    let description = described(&plot, &numbers);
    part.figures
        .push(Figure::new("operations", &plot, description, numbers)?);
    part.tables.extend(equal_compute::table(series, measure));
    Ok(part)
}
