//! Quality against the lead-span proportion: absolute, and relative to whole sequences.

use super::{
    Part,
    plots::{PlotOf, capitalised},
};
use crate::{
    ExperimentError, Kind,
    report::{
        measure::{Measure, relative},
        series::Series,
        shown,
    },
};

pub(super) fn part(series: &[Series], measure: Option<Measure>) -> Result<Part, ExperimentError> {
    let mut part = Part::new("quality", "Quality against proportion");
    let Some(measure) = measure else {
        part.text
            .push("No finished run has an evaluation or held-out losses.".into());
        return Ok(part);
    };
    let mut distilled = series.iter().filter(|series| series.kind == Kind::Distilled);
    let reference = match (distilled.next(), distilled.next()) {
        (Some(first), Some(_)) => format!("“{}”", first.label),
        _ => "a distilled student".to_owned(),
    };
    part.text.push(match measure {
        Measure::Accuracy => format!(
            "Accuracy is the share of problems that the student answers right. The share retained is the accuracy divided by that \
             of {reference} with the same seed on whole sequences."
        ),
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
            .map(|series| (series, relative(series, first, |run| measure.of(run))))
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
        .map(|series| (series, measure.by_proportion(&series.runs)))
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
    if series
        .iter()
        .flat_map(|series| &series.runs)
        .any(|run| run.lead_span().is_some())
    {
        part.text.push(
            "Runs whose samples have lead spans of their own are at no proportion: they are compared by their operations below."
                .into(),
        );
    }
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
