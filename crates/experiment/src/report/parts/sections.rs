//! Quality by the sections that runs are supervised on.

use leadspan_sequence::LeadSpanProportion;

use super::{Part, plots::capitalised};
use crate::{
    Kind,
    report::{
        figure::Table,
        measure::{Measure, at},
        series::{Point, Series, sections_in_words},
        shown,
    },
};

/// A table with a row for each set of sections and a column for each proportion.
pub(super) fn part(series: &[Series], measure: Option<Measure>) -> Part {
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
            (label, measure.by_proportion(&series.runs))
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
