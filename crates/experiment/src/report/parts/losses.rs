//! Losses while training, and held-out losses before and after it.

use std::collections::BTreeMap;

use super::{Part, plots::described};
use crate::{
    ExperimentError, Run,
    report::{
        figure::{Figure, Table},
        plot::{Line, Mark, Plot, Shape},
        series::Series,
        shown,
    },
};

/// The share of steps at the start that the plot leaves out: their losses would flatten all later ones.
const LEFT_OUT: f64 = 0.1;
/// The most points of a curve.
const BUCKETS: u64 = 60;
/// The most curves of a plot.
const CURVES: usize = 12;

pub(super) fn part(series: &[Series]) -> Result<Part, ExperimentError> {
    let mut part = Part::new("losses", "Losses while training");
    let mut numbers = Table::new(
        "Held-out losses of each student before and after training",
        &[
            "runs",
            "proportion",
            "forward KL before",
            "after",
            "cross-entropy before",
            "after",
        ],
    );
    let mut lines = Vec::new();
    for series in series {
        for group in &series.groups {
            let finished = group.runs.iter().copied().find(|run| run.summary().is_some());
            let first = finished.unwrap_or(group.runs[0]);
            let proportion = first.shown_lead_span().unwrap_or_else(|| "not recorded".into());
            let points = curve(first);
            if points.len() > 1 {
                lines.push(Line {
                    label: format!("{} at {proportion}{}", group.label, allowance(first)),
                    points,
                    shape: Shape::Plain,
                });
            }
            let before = first.summary().and_then(|summary| summary.held_out_before);
            let after = first.held_out();
            let cell = |value: Option<f64>| value.map_or_else(|| "not recorded".into(), |value| format!("{value:.4}"));
            numbers.rows.push(vec![
                group.label.clone(),
                proportion,
                cell(before.and_then(|losses| losses.forward_kl)),
                cell(after.and_then(|losses| losses.forward_kl)),
                cell(before.and_then(|losses| losses.cross_entropy)),
                cell(after.and_then(|losses| losses.cross_entropy)),
            ]);
        }
    }
    if lines.is_empty() {
        part.text.push("No run has recorded the losses of its steps.".into());
        part.tables.push(numbers);
        return Ok(part);
    }
    part.text.push(format!(
        "The loss that each run minimises, in nats, averaged over neighbouring steps, without the first {:.0} % of its steps and for the \
         first seed. Losses of different objectives cannot be compared.",
        100.0 * LEFT_OUT
    ));
    if lines.len() > CURVES {
        part.text
            .push(format!("The first {CURVES} of {} curves are shown.", lines.len()));
        lines.truncate(CURVES);
    }
    let plot = Plot {
        title: "Training loss".into(),
        x: "step",
        x_from: Some(0.0),
        x_shown: shown::digits,
        y_shown: |value| format!("{value:.1}"),
        y_from: None,
        lines,
    };
    let description = described(&plot, &numbers);
    part.figures.push(Figure::new("curves", &plot, description, numbers)?);
    Ok(part)
}

/// The operations at which a run was stopped; empty if it was not.
fn allowance(run: &Run) -> String {
    let max_flops = run.config.get("train.max_flops").and_then(|text| text.parse().ok());
    max_flops.map_or_else(String::new, |operations| {
        format!(", {}", shown::amount(operations, &shown::OPERATIONS))
    })
}

/// A run's losses, averaged over equal stretches of steps.
fn curve(run: &Run) -> Vec<Mark> {
    let last = run
        .metrics
        .all_steps
        .or(run.metrics.steps.last().map(|step| step.step))
        .unwrap_or(0);
    let first = (LEFT_OUT * last as f64) as u64;
    let mut buckets: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for step in run
        .metrics
        .steps
        .iter()
        .filter(|step| step.step > first && step.loss.is_finite())
    {
        let bucket = step.step * BUCKETS / last.max(1);
        buckets.entry(bucket).or_default().push((step.step as f64, step.loss));
    }
    let mean = |points: Vec<(f64, f64)>| {
        let count = points.len() as f64;
        let (x, y) = points
            .iter()
            .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let y = y / count;
        Mark {
            x: x / count,
            y,
            low: y,
            high: y,
        }
    };
    buckets.into_values().map(mean).collect()
}
