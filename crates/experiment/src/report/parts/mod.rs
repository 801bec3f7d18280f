//! The parts of the page, in their order.

use std::collections::BTreeMap;

use leadspan_sequence::LeadSpanProportion;
use serde::Serialize;

use super::{
    figure::{Figure, Table},
    headline::{flops, memory, seconds},
    plot::{Line, Mark, Plot, Shape},
    quality::{Measure, at, relative},
    series::{Point, Series, by_proportion, differing_keys, sections_in_words},
    shown::{self, Unit},
};
use crate::{Estimate, ExperimentError, Kind, Progress, Run};

/// A part of the page.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    id: &'static str,
    heading: &'static str,
    text: Vec<String>,
    figures: Vec<Figure>,
    tables: Vec<Table>,
}

impl Part {
    fn new(id: &'static str, heading: &'static str) -> Self {
        Self {
            id,
            heading,
            text: Vec::new(),
            figures: Vec::new(),
            tables: Vec::new(),
        }
    }
}

const PROPORTION: &str = "lead-span proportion";

/// Everything between headline and failures.
pub(super) fn parts(runs: &[Run], series: &[Series], measure: Option<Measure>) -> Result<Vec<Part>, ExperimentError> {
    Ok(vec![
        quality(series, measure)?,
        compute(series, measure)?,
        cost(series)?,
        sections(series, measure),
        losses(series)?,
        configuration(runs),
    ])
}

fn quality(series: &[Series], measure: Option<Measure>) -> Result<Part, ExperimentError> {
    let mut part = Part::new("quality", "Quality against proportion");
    let Some(measure) = measure else {
        part.text
            .push("No run has come to its end with an evaluation or held-out losses.".into());
        return Ok(part);
    };
    part.text.push(match measure {
        Measure::Accuracy => {
            "Accuracy is the share of problems that the student answers right. What is retained is accuracy over that \
                              of a distilled student with the same seed that saw whole sequences."
                .into()
        }
        _ => format!(
            "{} in nats on whole validation samples: lower is better.",
            capitalised(measure.name())
        ),
    });
    let compared = || series.iter().filter(|series| series.kind != Kind::EqualCompute);
    let distilled = series.iter().find(|series| series.kind == Kind::Distilled);
    if let Some(first) = distilled.filter(|_| measure.can_be_retained()) {
        let retained = compared().filter(|series| series.kind != Kind::Untrained);
        let lines = retained
            .map(|series| {
                let whole = if series.kind == Kind::Distilled { series } else { first };
                (series, relative(series, whole, |run| measure.of(run)))
            })
            .collect();
        let plot = PlotOf {
            id: "retained",
            title: "Accuracy retained".into(),
            y_shown: |value| format!("{:.0} %", 100.0 * value),
            y_from: Some(1.0),
            cell: shown::percent,
        };
        part.figures.extend(plot.against_proportion(lines)?);
    }
    let lines = compared()
        .map(|series| (series, by_proportion(&series.runs, |run| measure.of(run))))
        .collect();
    let plot = PlotOf {
        id: "absolute",
        title: capitalised(measure.name()),
        y_shown: match measure {
            Measure::Accuracy => |value| format!("{:.0} %", 100.0 * value),
            _ => |value| format!("{value:.2}"),
        },
        y_from: (measure == Measure::Accuracy).then_some(0.0),
        cell: match measure {
            Measure::Accuracy => shown::percent,
            _ => |value| format!("{value:.4}"),
        },
    };
    part.figures.extend(plot.against_proportion(lines)?);
    for (kind, missing) in [
        (Kind::Untrained, "the student before training"),
        (Kind::Supervised, "plain supervised training"),
    ] {
        if !series.iter().any(|series| series.kind == kind) {
            part.text.push(format!("There is no run of {missing} to compare with."));
        }
    }
    Ok(part)
}

fn compute(series: &[Series], measure: Option<Measure>) -> Result<Part, ExperimentError> {
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
        // Runs of one proportion and one allowance of operations are seeds of the same.
        let mut groups: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
        for run in &series.runs {
            groups
                .entry((run.proportion(), run.config.get("train.max_flops")))
                .or_default()
                .push(run);
        }
        let mut points = Vec::new();
        for ((proportion, _), runs) in groups {
            let of = |value: &dyn Fn(&Run) -> Option<f64>| {
                Estimate::of(&runs.iter().filter_map(|run| value(run)).collect::<Vec<_>>())
            };
            let (Some(operations), Some(quality)) = (of(&flops), of(&|run| measure.of(run))) else {
                continue;
            };
            points.push(mark(operations.mean, &quality));
            numbers.rows.push(vec![
                series.label.clone(),
                proportion.map_or_else(|| "not recorded".into(), |proportion| proportion.to_string()),
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
        "Operations are the additions and multiplications of the products in forward and backward passes: three times those of the \
         forward pass. What activation checkpointing computes again is not among them."
            .into(),
    );
    if !series.iter().any(|series| series.kind == Kind::EqualCompute) {
        part.text.push(
            "There is no run on whole sequences that was stopped at the operations of a shorter proportion.".into(),
        );
    }
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
    Ok(part)
}

/// What is read off a run.
type Value = fn(&Run) -> Option<f64>;

fn cost(series: &[Series]) -> Result<Part, ExperimentError> {
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
        part.text.push("No training has come to its end.".into());
    }
    Ok(part)
}

/// Sections as rows, proportions as columns.
fn sections(series: &[Series], measure: Option<Measure>) -> Part {
    let mut part = Part::new("sections", "Supervised sections");
    let distilled: Vec<&Series> = series.iter().filter(|series| series.kind == Kind::Distilled).collect();
    let of = |series: &Series| {
        series
            .runs
            .first()
            .and_then(|run| run.sections())
            .unwrap_or("not recorded")
            .to_owned()
    };
    let mut all: Vec<String> = distilled.iter().map(|series| of(series)).collect();
    all.sort();
    all.dedup();
    let Some(measure) = measure.filter(|_| all.len() > 1) else {
        let only = all
            .first()
            .map_or_else(|| "none".into(), |only| sections_in_words(only));
        part.text.push(format!(
            "All distilled runs are supervised on the same sections: {only}."
        ));
        return part;
    };
    let rows: Vec<(String, Vec<Point>)> = distilled
        .iter()
        .map(|series| {
            let label = sections_in_words(&of(series));
            let others = series.label.replace(&label, "").replace("distilled", "");
            let others = others.trim_matches([',', ' ']);
            let label = if others.is_empty() {
                label
            } else {
                format!("{label} ({others})")
            };
            (label, by_proportion(&series.runs, |run| measure.of(run)))
        })
        .collect();
    let mut proportions: Vec<LeadSpanProportion> = rows
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.proportion)
        .collect();
    proportions.sort();
    proportions.dedup();
    let mut table = Table::new(
        format!("{} at each proportion", capitalised(measure.name())),
        &["sections"],
    );
    table.head.extend(proportions.iter().map(ToString::to_string));
    for (label, points) in rows {
        let cells = proportions.iter().map(|&proportion| {
            at(&points, proportion).map_or_else(
                || "no run".into(),
                |estimate| shown::estimate(&estimate, |value| measure.shown(value)),
            )
        });
        table.rows.push([label].into_iter().chain(cells).collect());
    }
    part.tables.push(table);
    part
}

/// Steps at the beginning that are left out of the plot: their losses would flatten all that follow.
const LEFT_OUT: f64 = 0.1;
/// Points of a curve.
const BUCKETS: u64 = 60;
/// Curves of a plot.
const CURVES: usize = 12;

fn losses(series: &[Series]) -> Result<Part, ExperimentError> {
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
        let mut by_proportion: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
        for run in &series.runs {
            by_proportion
                .entry((run.proportion(), run.config.get("train.max_flops")))
                .or_default()
                .push(run);
        }
        for ((proportion, _), runs) in by_proportion {
            let first = runs[0];
            let proportion = proportion.map_or_else(|| "not recorded".into(), |proportion| proportion.to_string());
            let points = curve(first);
            if points.len() > 1 {
                lines.push(Line {
                    label: format!("{} at {proportion}{}", series.label, allowance(first)),
                    points,
                    shape: Shape::Plain,
                });
            }
            let before = first.summary().and_then(|summary| summary.held_out_before);
            let after = first.held_out();
            let cell = |value: Option<f64>| value.map_or_else(|| "not recorded".into(), |value| format!("{value:.4}"));
            numbers.rows.push(vec![
                series.label.clone(),
                proportion,
                cell(before.and_then(|losses| losses.forward_kl)),
                cell(after.and_then(|losses| losses.forward_kl)),
                cell(before.map(|losses| losses.cross_entropy)),
                cell(after.map(|losses| losses.cross_entropy)),
            ]);
        }
    }
    if lines.is_empty() {
        part.text.push("No run has recorded the losses of its steps.".into());
        part.tables.push(numbers);
        return Ok(part);
    }
    part.text.push(format!(
        "What each run minimises, in nats, averaged over neighbouring steps and without the first {:.0} % of its steps; of several seeds, \
         the first. Runs that minimise different things do not compare.",
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

/// The operations at which a run was stopped, if it was.
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

fn configuration(runs: &[Run]) -> Part {
    let mut part = Part::new("configuration", "What differs between the runs");
    let all: Vec<&Run> = runs.iter().collect();
    let keys: Vec<String> = differing_keys(&all)
        .into_iter()
        .filter(|key| key != "train.dir")
        .collect();
    if keys.is_empty() {
        part.text.push("Their configurations are the same.".into());
        return part;
    }
    part.text
        .push("Only keys whose values differ; everything else is the same in all runs that have recorded it.".into());
    let mut table = Table::new("Configuration of each run", &["run"]);
    table.head.extend(keys.iter().cloned());
    for run in runs {
        let cell = |key: &String| run.config.get(key).cloned().unwrap_or_else(|| "not recorded".into());
        table
            .rows
            .push([run.name.clone()].into_iter().chain(keys.iter().map(cell)).collect());
    }
    part.tables.push(table);
    part
}

/// Every run, and how far it has come.
pub(super) fn runs_table(runs: &[Run]) -> Table {
    let mut table = Table::new(
        "Every run",
        &[
            "run",
            "what it is",
            "proportion",
            "seed",
            "state",
            "tokens",
            "time",
            "accuracy over problems",
        ],
    );
    for run in runs {
        let state = match &run.progress {
            Progress::Finished(summary) => format!("finished after {} steps", shown::count(summary.steps)),
            Progress::Unfinished { steps, of: Some(of) } => {
                format!("unfinished: {} of {} steps", shown::count(*steps), shown::count(*of))
            }
            Progress::Unfinished { .. } => "unfinished: no step on record".into(),
        };
        let accuracy = run.evaluation.as_ref().map_or_else(
            || "not evaluated".into(),
            |evaluation| {
                let interval = evaluation.accuracy_interval;
                let interval =
                    interval.map(|(low, high)| format!(" ({} to {})", shown::percent(low), shown::percent(high)));
                format!(
                    "{}{} of {}",
                    shown::percent(evaluation.accuracy),
                    interval.unwrap_or_default(),
                    shown::count(evaluation.problems)
                )
            },
        );
        let recorded = |text: Option<String>| text.unwrap_or_else(|| "not recorded".into());
        table.rows.push(vec![
            run.name.clone(),
            run.kind.name().into(),
            recorded(run.proportion().map(|proportion| proportion.to_string())),
            recorded(run.seed().map(str::to_owned)),
            state,
            recorded(run.summary().map(|summary| shown::count(summary.tokens))),
            recorded(
                run.wall_seconds
                    .or_else(|| seconds(run))
                    .map(|time| shown::amount(time, &shown::TIMES)),
            ),
            accuracy,
        ]);
    }
    table
}

/// A plot of one value of many series.
struct PlotOf {
    id: &'static str,
    title: String,
    y_shown: fn(f64) -> String,
    y_from: Option<f64>,
    /// How a number is written in the table.
    cell: fn(f64) -> String,
}

impl PlotOf {
    /// Against the proportion; `None` where there is no point. The untrained student, and a series of one proportion beside longer
    /// ones, is a level.
    fn against_proportion(self, lines: Vec<(&Series, Vec<Point>)>) -> Result<Option<Figure>, ExperimentError> {
        let mut numbers = Table::new(
            format!("{} at each proportion", self.title),
            &["runs", PROPORTION, "mean (95 % interval)", "runs counted"],
        );
        let longest = lines.iter().map(|(_, points)| points.len()).max().unwrap_or(0);
        let mut drawn = Vec::new();
        for (series, points) in lines.into_iter().filter(|(_, points)| !points.is_empty()) {
            let level =
                series.kind == Kind::Untrained || (series.kind == Kind::Supervised && points.len() == 1 && longest > 1);
            for point in &points {
                numbers.rows.push(vec![
                    series.label.clone(),
                    if series.kind == Kind::Untrained {
                        "none".into()
                    } else {
                        point.proportion.to_string()
                    },
                    shown::estimate(&point.estimate, self.cell),
                    point.estimate.values.to_string(),
                ]);
            }
            let marks = points
                .iter()
                .map(|point| mark(point.proportion.as_f64(), &point.estimate));
            drawn.push(Line {
                label: series.label.clone(),
                points: marks.collect(),
                shape: if level { Shape::Level } else { Shape::Marked },
            });
        }
        if drawn.is_empty() {
            return Ok(None);
        }
        let plot = Plot {
            title: self.title,
            x: PROPORTION,
            x_from: Some(0.0),
            x_shown: |value| format!("{value:.1}"),
            y_shown: self.y_shown,
            y_from: self.y_from,
            lines: drawn,
        };
        let description = described(&plot, &numbers);
        Figure::new(self.id, &plot, description, numbers).map(Some)
    }
}

fn mark(x: f64, estimate: &Estimate) -> Mark {
    let (low, high) = estimate.span();
    Mark {
        x,
        y: estimate.mean,
        low,
        high,
    }
}

/// What a plot shows, in words.
fn described(plot: &Plot, numbers: &Table) -> String {
    let names: Vec<&str> = plot.lines.iter().map(|line| line.label.as_str()).collect();
    format!(
        "{} against {}, of {}. The {} numbers are in the table below the plot.",
        plot.title,
        plot.x,
        names.join("; "),
        numbers.rows.len()
    )
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
