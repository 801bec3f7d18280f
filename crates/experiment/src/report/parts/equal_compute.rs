//! Each policy and proportion beside whole sequences that took as many operations.

use super::plots::capitalised;
use crate::{
    Estimate, Kind, Run,
    report::{
        figure::Table,
        measure::{Measure, mean_flops},
        seeds::{ended_early as ended_early_of, is_as_long_as},
        series::Series,
        shown,
    },
};

/// A row for each distilled group of runs that differ in their seeds, of which at least one has a run of equal compute with its seed
/// and otherwise its settings; `None` if none has. Differences are taken seed by seed.
pub(super) fn table(series: &[Series], measure: Measure) -> Option<Table> {
    let mut table = Table::new(
        format!(
            "{} beside whole sequences at equal compute ({})",
            capitalised(measure.name()),
            measure.intervals()
        ),
        &[
            "runs",
            "lead span",
            "training FLOPs",
            measure.name(),
            "whole sequences",
            "their FLOPs",
            "difference",
            "seeds",
        ],
    );
    for one in of_kind(series, Kind::Distilled) {
        for group in &one.groups {
            let runs = &group.runs;
            let pairs = pairs(series, runs, measure);
            let (shorter, whole): (Vec<&Run>, Vec<&Run>) = pairs.iter().copied().unzip();
            let of_pair = |(shorter, whole): &(&Run, &Run)| Some(measure.of(shorter)? - measure.of(whole)?);
            let differences: Vec<f64> = pairs.iter().filter_map(of_pair).collect();
            let operations = [&shorter, &whole].map(|runs| {
                mean_flops(runs).map_or_else(
                    || "not recorded".into(),
                    |count| shown::amount(count, &shown::OPERATIONS),
                )
            });
            let [operations, whole_operations] = operations;
            let quality = |runs: Vec<&Run>| measure.estimate(runs);
            let (Some(difference), Some(of_shorter), Some(of_whole)) =
                (Estimate::of_differences(&differences), quality(shorter), quality(whole))
            else {
                continue;
            };
            table.rows.push(vec![
                one.label.clone(),
                runs[0].shown_lead_span().unwrap_or_else(|| "not recorded".into()),
                operations,
                shown::estimate(&of_shorter, |value| measure.shown(value)),
                shown::estimate(&of_whole, |value| measure.shown(value)),
                whole_operations,
                shown::estimate(&difference, |value| match measure {
                    Measure::Accuracy => format!("{:+.1} points", 100.0 * value),
                    Measure::ForwardKl | Measure::CrossEntropy => format!("{value:+.3}"),
                }),
                pairs.len().to_string(),
            ]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Each of these runs that has one of equal compute with its seed and otherwise its settings, and that one; both with a result.
pub(in crate::report) fn pairs<'a>(
    series: &[Series<'a>],
    runs: &[&'a Run],
    measure: Measure,
) -> Vec<(&'a Run, &'a Run)> {
    let whole: Vec<&Run> = of_kind(series, Kind::EqualCompute)
        .flat_map(|series| series.runs.iter().copied())
        .filter(|run| measure.of(run).is_some())
        .collect();
    let with_a_result = runs.iter().copied().filter(|run| measure.of(run).is_some());
    let paired = with_a_result.filter_map(|run| Some((run, *whole.iter().find(|other| is_as_long_as(other, run))?)));
    paired.collect()
}

/// Says which runs of equal compute ended before their limit: they are compared with no run.
pub(super) fn ended_early(series: &[Series]) -> Option<String> {
    let names: Vec<&str> = of_kind(series, Kind::EqualCompute)
        .flat_map(|series| &series.runs)
        .filter(|run| ended_early_of(run))
        .map(|run| run.name.as_str())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "These runs on whole sequences ended before the operations at which they should stop, so they are compared with no \
             other run: {}. Their epochs were over, or `train.patience` ended them.",
            names.join(", ")
        )
    })
}

fn of_kind<'s, 'a>(series: &'s [Series<'a>], kind: Kind) -> impl Iterator<Item = &'s Series<'a>> {
    series.iter().filter(move |series| series.kind == kind)
}
