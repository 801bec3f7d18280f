//! The result of all runs in one sentence, and the table behind it.

use leadspan_sequence::LeadSpanProportion;
use serde::Serialize;

use super::{
    figure::Table,
    measure::{Measure, at, flops, mean_flops, memory, relative, seconds},
    parts::pairs,
    seeds::SAME_LIMIT,
    series::{Point, Series},
    shown,
};
use crate::{Kind, Run};

const RETAINED: &str = "retained";

/// The first lines of the page.
#[derive(Debug, Serialize)]
pub(super) struct Headline {
    pub(super) sentences: Vec<String>,
    table: Option<Table>,
}

/// Says how much quality is retained at about half of every sequence, with a table of all proportions.
pub(super) fn headline(series: &[Series], measure: Option<Measure>) -> Headline {
    let Some(main) = series.iter().find(|series| series.kind == Kind::Distilled) else {
        return Headline {
            sentences: vec!["No run is distilled from a teacher, so there is nothing to be retained.".into()],
            table: None,
        };
    };
    let Some(measure) = measure else {
        return Headline {
            sentences: vec!["No finished distilled run has an evaluation or held-out losses.".into()],
            table: None,
        };
    };
    let mut sentences = vec![sentence(main, measure)];
    sentences.extend(beside_equal_compute(series, main, measure));
    if series.iter().filter(|series| series.kind == Kind::Distilled).count() > 1 {
        sentences.push(format!(
            "This is about the runs “{}”; the tables have the others, too.",
            main.label
        ));
    }
    if measure != Measure::Accuracy {
        sentences.push("No run was evaluated on problems, so students are compared by held-out losses.".into());
    }
    Headline {
        sentences,
        table: Some(table(main, measure)),
    }
}

fn sentence(main: &Series, measure: Measure) -> String {
    let quality = measure.by_proportion(&main.runs);
    let Some(whole) = at(&quality, LeadSpanProportion::WHOLE) else {
        return "No distilled run on whole sequences is finished, so no retained share can be computed.".into();
    };
    let Some(half) = about_half(&quality) else {
        return "The finished runs are all on whole sequences.".into();
    };
    let proportion = half.proportion;
    let part = shown::digits(100.0 * proportion.as_f64());
    let of_operations = at(&relative(main, main, flops), proportion);
    let cost = of_operations.map_or_else(String::new, |operations| {
        format!(", at {} of the operations", shown::percent(operations.mean))
    });
    if !measure.can_be_retained() {
        return format!(
            "Trained on the first {part} % of every sequence, the student ends at a {} of {}, against {} on whole sequences{cost}.",
            measure.name(),
            shown::estimate(&half.estimate, |value| measure.shown(value)),
            shown::estimate(&whole, |value| measure.shown(value)),
        );
    }
    match at(&relative(main, main, |run| measure.of(run)), proportion) {
        Some(retained) => format!(
            "Trained on the first {part} % of every sequence, the student keeps {} of the accuracy that whole sequences \
             give{cost}.",
            shown::estimate(&retained, shown::percent)
        ),
        None => format!(
            "At {part} % of every sequence accuracy is {}, on whole sequences {}; no seed has a positive \
             accuracy on whole sequences to compare with.",
            shown::estimate(&half.estimate, shown::percent),
            shown::estimate(&whole, shown::percent)
        ),
    }
}

/// The proportion below the whole that is nearest to one half.
fn about_half(points: &[Point]) -> Option<&Point> {
    let distance = |point: &&Point| (point.proportion.as_f64() - 0.5).abs();
    let shorter = points
        .iter()
        .filter(|point| point.proportion != LeadSpanProportion::WHOLE);
    shorter.min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// Says what whole sequences give for the operations of about half of every sequence, if there are such runs of the same seeds.
///
/// A run ends after a whole step. Where steps are few, whole sequences take more operations than they should: both numbers are named.
fn beside_equal_compute(all: &[Series], main: &Series, measure: Measure) -> Option<String> {
    let proportion = about_half(&measure.by_proportion(&main.runs))?.proportion;
    let (half, whole): (Vec<&Run>, Vec<&Run>) = pairs(all, &main.runs, measure)
        .into_iter()
        .filter(|(half, _)| half.proportion() == Some(proportion))
        .unzip();
    let (of_half, of_whole) = (mean_flops(&half)?, mean_flops(&whole)?);
    let shown = |runs| Some(shown::estimate(&measure.estimate(runs)?, |value| measure.shown(value)));
    let (name, whole, half) = (measure.name(), shown(whole)?, shown(half)?);
    let part = shown::digits(100.0 * proportion.as_f64());
    if of_whole <= SAME_LIMIT * of_half {
        return Some(format!(
            "At the same number of operations, {name} is {whole} after whole sequences for fewer steps, and {half} after the first \
             {part} % of every sequence."
        ));
    }
    let [of_half, of_whole] = [of_half, of_whole].map(|count| shown::amount(count, &shown::OPERATIONS));
    Some(format!(
        "With {of_whole}, {name} is {whole} after whole sequences for fewer steps, and with {of_half} it is {half} after the first \
         {part} % of every sequence: whole sequences took more operations, because a run ends after a whole step."
    ))
}

fn table(main: &Series, measure: Measure) -> Table {
    let mut table = Table::new(
        format!(
            "At each proportion, relative to whole sequences ({}): {}",
            measure.intervals(),
            main.label
        ),
        &["proportion", measure.name()],
    );
    let of_quality = measure
        .can_be_retained()
        .then(|| (RETAINED, relative(main, main, |run| measure.of(run))));
    let columns: Vec<(&str, Vec<Point>)> = of_quality
        .into_iter()
        .chain([
            ("training time", relative(main, main, seconds)),
            ("training FLOPs", relative(main, main, flops)),
            ("peak memory", relative(main, main, memory)),
        ])
        .collect();
    table.head.extend(columns.iter().map(|(name, _)| (*name).to_owned()));
    table.head.push("runs".into());
    for point in measure.by_proportion(&main.runs) {
        let mut row = vec![
            point.proportion.to_string(),
            shown::estimate(&point.estimate, |value| measure.shown(value)),
        ];
        row.extend(columns.iter().map(|(name, points)| {
            at(points, point.proportion).map_or_else(
                || "not recorded".into(),
                // Only the retained share has an interval here, so that the table is easy to read.
                |estimate| match *name {
                    RETAINED => shown::estimate(&estimate, shown::percent),
                    _ => shown::percent(estimate.mean),
                },
            )
        }));
        row.push(point.estimate.values.to_string());
        table.rows.push(row);
    }
    table
}
