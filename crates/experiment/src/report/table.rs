//! The runs as comma-separated values (RFC 4180): one row for each run, in full precision. Values that were not recorded are empty.

use leadspan_files::visible;

use super::seeds::cases_of;
use crate::{Run, RunState, runs::HeldOut};

const COLUMNS: [&str; 29] = [
    "run",
    "kind",
    "state",
    "lead_span_proportion",
    "supervised_sections",
    "seed",
    "max_flops",
    "steps",
    "tokens",
    "positions",
    "seconds",
    "wall_seconds",
    "training_flops",
    "peak_memory_bytes",
    "cache_bytes_read",
    "held_out_cross_entropy_before",
    "held_out_forward_kl_before",
    "held_out_cross_entropy",
    "held_out_forward_kl",
    "held_out_top_1_agreement",
    "problems",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "ungraded",
    "lead_span",
    "positions_learnt",
    "position_weights",
    "equal_compute_for",
];

pub(super) fn table(runs: &[Run]) -> String {
    let mut table = COLUMNS.join(",") + "\r\n";
    for run in runs {
        let cells: Vec<String> = cells(run, runs).iter().map(|cell| written(cell)).collect();
        table += &cells.join(",");
        table += "\r\n";
    }
    table
}

fn cells(run: &Run, all: &[Run]) -> [String; COLUMNS.len()] {
    fn text(value: Option<impl ToString>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    let summary = run.summary();
    let (state, steps) = match &run.state {
        RunState::Finished(summary) => ("finished", summary.steps),
        RunState::Unfinished { steps, .. } => ("unfinished", *steps),
    };
    let before = summary.and_then(|summary| summary.held_out_before);
    let after = run.held_out();
    let evaluation = run.evaluation.as_ref();
    let interval = evaluation.and_then(|evaluation| evaluation.accuracy_interval);
    let cross_entropy = |held_out: HeldOut| held_out.cross_entropy;
    [
        run.name.clone(),
        run.kind.name().to_owned(),
        state.to_owned(),
        text(run.proportion()),
        text(run.sections()),
        text(run.seed()),
        text(run.config.get("train.max_flops").filter(|value| *value != "none")),
        steps.to_string(),
        text(summary.map(|summary| summary.tokens)),
        text(summary.and_then(|summary| summary.positions)),
        text(summary.map(|summary| summary.seconds)),
        text(run.wall_seconds),
        text(summary.and_then(|summary| summary.training_flops)),
        text(summary.and_then(|summary| summary.peak_memory_bytes)),
        text(summary.and_then(|summary| summary.cache_bytes_read)),
        text(before.and_then(cross_entropy)),
        text(before.and_then(|held_out| held_out.forward_kl)),
        text(after.and_then(cross_entropy)),
        text(after.and_then(|held_out| held_out.forward_kl)),
        text(after.and_then(|held_out| held_out.top_1_agreement)),
        text(evaluation.map(|evaluation| evaluation.problems)),
        text(evaluation.map(|evaluation| evaluation.accuracy)),
        text(interval.map(|(low, _)| low)),
        text(interval.map(|(_, high)| high)),
        text(evaluation.map(|evaluation| evaluation.ungraded)),
        text(run.lead_span()),
        text(run.config.get("train.positions")),
        text(run.config.get("train.position_weights")),
        of_cases(run, all),
    ]
}

/// The cases that a run of equal compute is for; empty if there are none.
fn of_cases(run: &Run, all: &[Run]) -> String {
    let cases = cases_of(run, all);
    cases.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether spreadsheets may take a text for a formula, which may read other files or call other programs: it begins with one of
/// a few characters, also in their full width, or with a tab or a line break. Some leave out blanks and what has no width before
/// them. Numbers are no formulas.
fn is_formula(cell: &str) -> bool {
    let is_left_out = |letter: char| {
        letter.is_whitespace()
            || letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    let begins = cell
        .trim_start_matches(is_left_out)
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    (begins || cell.starts_with(['\t', '\r', '\n'])) && cell.parse::<f64>().is_err()
}

/// A cell in the file: [quoted], and with what would steer a terminal written out.
fn written(cell: &str) -> String {
    visible(&quoted(cell)).into_owned()
}

/// A cell, in quotes if it needs them: also with a semicolon or a tab, which separate cells in some countries. A text that could
/// be a [formula](is_formula) gets an apostrophe in front.
fn quoted(cell: &str) -> String {
    if is_formula(cell) {
        return quoted(&format!("'{cell}"));
    }
    if cell.contains([',', ';', '\t', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_need_quotes_have_them() {
        assert_eq!(quoted("half"), "half");
        assert_eq!(quoted("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
    }

    #[test]
    fn no_cell_steers_a_terminal() {
        for (cell, expected) in [
            ("a\u{202e}b\u{9b}31m", "a\\u{202e}b\\x9b31m"),
            ("\u{1b}[2J,x", "\"\\x1b[2J,x\""),
            ("\u{feff}=1", "'\\u{feff}=1"),
            ("a\nb é", "\"a\nb é\""),
        ] {
            assert_eq!(written(cell), expected);
        }
    }

    #[test]
    fn no_text_is_a_formula_and_numbers_stay_numbers() {
        for (cell, expected) in [
            ("=1+1", "'=1+1"),
            (
                "=HYPERLINK(\"http://a\",\"b\")",
                "\"'=HYPERLINK(\"\"http://a\"\",\"\"b\"\")\"",
            ),
            ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\"'\t=1\""),
            ("\n=1", "\"'\n=1\""),
            ("＝1+1", "'＝1+1"),
            ("＋1+a", "'＋1+a"),
            ("－1+a", "'－1+a"),
            ("＠SUM(A1)", "'＠SUM(A1)"),
            (" =1+1", "' =1+1"),
            ("\u{a0}\u{feff}\u{200b}＝1", "'\u{a0}\u{feff}\u{200b}＝1"),
            ("\u{1b}=1", "'\u{1b}=1"),
            ("a;=1+1", "\"a;=1+1\""),
            ("'=1", "'=1"),
            (" a", " a"),
            ("\r=1", "\"'\r=1\""),
            ("-1.5e-3", "-1.5e-3"),
            ("+2", "+2"),
            ("-inf", "-inf"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(quoted(cell), expected);
        }
    }
}
