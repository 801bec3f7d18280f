//! Each policy and proportion beside whole sequences that took as many operations.

use super::plots::capitalised;
use crate::{
    Estimate, Kind, Run,
    report::{figure::Table, headline::flops, measure::Measure, seeds::is_as_long_as, series::Series, shown},
};

/// A row for each distilled group of runs that differ in their seeds, of which at least one has a run of equal compute with its seed
/// and otherwise its settings; `None` if none has. Differences are taken seed by seed.
pub(super) fn table(series: &[Series], measure: Measure) -> Option<Table> {
    let mut table = Table::new(
        format!(
            "{} beside whole sequences at equal compute (95 % intervals over seeds)",
            capitalised(measure.name())
        ),
        &[
            "runs",
            "lead span",
            "training FLOPs",
            measure.name(),
            "whole sequences",
            "difference",
            "seeds",
        ],
    );
    let whole: Vec<&Run> = of_kind(series, Kind::EqualCompute)
        .flat_map(|series| series.runs.iter().copied())
        .collect();
    for series in of_kind(series, Kind::Distilled) {
        for group in &series.groups {
            let runs = &group.runs;
            let mut pairs: Vec<(&Run, &Run)> = Vec::new();
            for run in runs.iter().copied().filter(|run| measure.of(run).is_some()) {
                let matches = |other: &&&Run| is_as_long_as(other, run) && measure.of(other).is_some();
                pairs.extend(whole.iter().find(matches).map(|whole| (run, *whole)));
            }
            let (shorter, whole): (Vec<&Run>, Vec<&Run>) = pairs.iter().copied().unzip();
            let of_pair = |(shorter, whole): &(&Run, &Run)| Some(measure.of(shorter)? - measure.of(whole)?);
            let differences: Vec<f64> = pairs.iter().filter_map(of_pair).collect();
            let operations: Vec<f64> = shorter.iter().filter_map(|run| flops(run)).collect();
            let quality = |runs: Vec<&Run>| measure.estimate(runs);
            let (Some(operations), Some(difference), Some(of_shorter), Some(of_whole)) = (
                Estimate::of(&operations),
                Estimate::of_differences(&differences),
                quality(shorter),
                quality(whole),
            ) else {
                continue;
            };
            table.rows.push(vec![
                series.label.clone(),
                runs[0].shown_lead_span().unwrap_or_else(|| "not recorded".into()),
                shown::amount(operations.mean, &shown::OPERATIONS),
                shown::estimate(&of_shorter, |value| measure.shown(value)),
                shown::estimate(&of_whole, |value| measure.shown(value)),
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

fn of_kind<'s, 'a>(series: &'s [Series<'a>], kind: Kind) -> impl Iterator<Item = &'s Series<'a>> {
    series.iter().filter(move |series| series.kind == kind)
}
