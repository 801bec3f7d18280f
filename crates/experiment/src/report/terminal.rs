//! The runs as a table of text, for a terminal.

use super::{
    figure::Table,
    measure::{Measure, flops, memory, relative_of, seconds},
    seeds::Group,
    series::Series,
    shown,
};
use crate::{Estimate, Kind, Run};

/// A line for each proportion of each series and each case of equal compute, with means over seeds and their intervals; `None` if no
/// run is finished.
pub(super) fn text_table(series: &[Series], measure: Option<Measure>) -> Option<String> {
    let mut table = Table::new("", &["runs", "proportion"]);
    if let Some(measure) = measure {
        table.head.push(measure.name().into());
        if measure.can_be_retained() {
            table.head.push("retained".into());
        }
    }
    table.head.extend(["training", "time", "memory"].map(String::from));
    let several = series
        .iter()
        .any(|series| finished(series).any(|(_, runs)| runs.len() > 1));
    if several {
        table.head.push("seeds".into());
    }
    let is_ungraded =
        measure == Some(Measure::Accuracy) && series.iter().flat_map(finished).any(|(_, runs)| ungraded(&runs) > 0);
    if is_ungraded {
        table.head.push("ungraded".into());
    }
    let main = series.iter().find(|series| series.kind == Kind::Distilled);
    for series in series {
        for (label, runs) in finished(series) {
            let mut row = vec![label.to_owned(), proportion(series, &runs)];
            if let Some(measure) = measure {
                row.push(quality(&runs, measure));
                if measure.can_be_retained() {
                    row.push(main.map_or_else(String::new, |main| retained(main, &runs, measure)));
                }
            }
            row.push(mean(&runs, flops, &shown::OPERATIONS));
            row.push(mean(&runs, seconds, &shown::TIMES));
            row.push(mean(&runs, memory, &shown::SIZES));
            if several {
                // Those that the mean of the quality is over.
                let measured = measure.map_or(0, |measure| runs.iter().filter(|run| measure.of(run).is_some()).count());
                row.push(if measured > 0 { measured } else { runs.len() }.to_string());
            }
            if is_ungraded {
                row.push(shown::count(ungraded(&runs)));
            }
            let mut lines = folded(&row[0]).into_iter();
            row[0] = lines.next().unwrap_or_default();
            let columns = row.len();
            table.rows.push(row);
            table.rows.extend(lines.map(|line| {
                let mut more = vec![String::new(); columns];
                more[0] = line;
                more
            }));
        }
    }
    (!table.rows.is_empty()).then(|| aligned(&table))
}

/// A label on as many lines as it takes: a line ends between two settings, or between two brackets.
fn folded(label: &str) -> Vec<String> {
    // Together with the other columns, some 120 characters.
    const WIDEST: usize = 41;
    // Numbers in a list belong together.
    let mut settings: Vec<String> = Vec::new();
    for part in label.split_inclusive(", ") {
        match settings.last_mut() {
            Some(setting) if !part.starts_with(char::is_alphabetic) => setting.push_str(part),
            _ => settings.push(part.to_owned()),
        }
    }
    let mut lines = vec![String::new()];
    for part in settings.iter().flat_map(|setting| setting.split_inclusive("] ")) {
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.len() + part.trim_end().len() <= WIDEST => line.push_str(part),
            _ => lines.push(format!("  {part}")),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// The finished runs of each group of a series, with its label.
fn finished<'s, 'a>(series: &'s Series<'a>) -> impl Iterator<Item = (&'s str, Vec<&'a Run>)> {
    let of_group = |group: &'s Group<'a>| {
        let finished = group.runs.iter().copied().filter(|run| run.summary().is_some());
        (group.label.as_str(), finished.collect::<Vec<_>>())
    };
    series.groups.iter().map(of_group).filter(|(_, runs)| !runs.is_empty())
}

/// The number of answers of these runs on which the grader gave no verdict.
fn ungraded(runs: &[&Run]) -> u64 {
    let evaluations = runs.iter().filter_map(|run| run.evaluation.as_ref());
    evaluations.map(|evaluation| evaluation.ungraded).sum()
}

/// The proportion, or a word for lead spans of their own; a dash for the untrained student, which has seen no sequence.
fn proportion(series: &Series, runs: &[&Run]) -> String {
    match (runs[0].proportion(), runs[0].lead_span()) {
        _ if series.kind == Kind::Untrained => "–".into(),
        (Some(proportion), _) => proportion.to_string(),
        (None, Some(policy)) => policy.split(' ').next().unwrap_or_default().to_owned(),
        (None, None) => "–".into(),
    }
}

fn quality(runs: &[&Run], measure: Measure) -> String {
    let estimate = measure.estimate(runs.iter().copied());
    estimate.map_or_else(
        || "–".into(),
        |estimate| shown::estimate(&estimate, |value| measure.shown(value)),
    )
}

/// The share of the quality of the distilled student on whole sequences, seed by seed.
fn retained(main: &Series, runs: &[&Run], measure: Measure) -> String {
    let estimate = relative_of(runs, main, |run| measure.of(run));
    estimate.map_or_else(|| "–".into(), |estimate| shown::percent(estimate.mean))
}

fn mean(runs: &[&Run], value: fn(&Run) -> Option<f64>, units: &[shown::Unit]) -> String {
    let values: Vec<f64> = runs.iter().filter_map(|run| value(run)).collect();
    Estimate::of(&values).map_or_else(|| "–".into(), |estimate| shown::amount(estimate.mean, units))
}

/// Aligns columns under their heads, the first to the left and the others to the right.
fn aligned(table: &Table) -> String {
    let lines: Vec<&Vec<String>> = std::iter::once(&table.head).chain(&table.rows).collect();
    let widths: Vec<usize> = (0..table.head.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            // Not by the width of a format, which has a limit.
            let gap = " ".repeat(width - cell.chars().count());
            if column == 0 {
                format!("{cell}{gap}")
            } else {
                gap + cell
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_label_goes_on_in_another_line_at_a_setting_or_a_bracket() {
        assert_eq!(folded("distilled"), ["distilled"]);
        assert_eq!(
            folded(
                "equal compute, replay.share 0.0, for lead span mixture [0.25, 0.5] [1.0, 0.5], positions disagreement 0.2"
            ),
            [
                "equal compute, replay.share 0.0,",
                "  for lead span mixture [0.25, 0.5]",
                "  [1.0, 0.5], positions disagreement 0.2"
            ]
        );
        assert_eq!(folded(&"x".repeat(100)), ["x".repeat(100)]);
    }

    #[test]
    fn a_name_of_any_length_is_aligned() {
        let mut table = Table::new("", &["runs", "time"]);
        table.rows.push(vec!["x".repeat(100_000), "1 s".to_owned()]);
        let text = aligned(&table);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!([lines[0].len(), lines[1].len()], [100_006; 2]);
        assert!(lines[0].starts_with("runs  ") && lines[1].ends_with("x   1 s"));
    }
}
