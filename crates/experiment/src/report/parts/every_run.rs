//! The table of all runs.

use crate::{
    Run, RunState,
    report::{figure::Table, measure::seconds, seeds::cases_of, shown},
};

/// Every run and its state.
pub(in crate::report) fn every_run(runs: &[Run]) -> Table {
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
        let cases = cases_of(run, runs).into_iter().map(|case| case.to_string());
        let state = match &run.state {
            RunState::Finished(summary) => format!("finished after {} steps", shown::count(summary.steps)),
            RunState::Unfinished { steps, of: Some(of) } => {
                format!("unfinished: {} of {} steps", shown::count(*steps), shown::count(*of))
            }
            RunState::Unfinished { .. } => "unfinished: no step on record".into(),
        };
        let accuracy = run.evaluation.as_ref().map_or_else(
            || "not evaluated".into(),
            |evaluation| {
                let interval = evaluation.accuracy_interval;
                let interval =
                    interval.map(|(low, high)| format!(" ({} to {})", shown::percent(low), shown::percent(high)));
                format!(
                    "{}{} of {}{}",
                    shown::percent(evaluation.accuracy),
                    interval.unwrap_or_default(),
                    shown::count(evaluation.problems),
                    shown::ungraded(evaluation.ungraded)
                )
            },
        );
        let recorded = |text: Option<String>| text.unwrap_or_else(|| "not recorded".into());
        table.rows.push(vec![
            run.name.clone(),
            [run.kind.name().to_owned()]
                .into_iter()
                .chain(cases)
                .collect::<Vec<_>>()
                .join(", for "),
            recorded(run.shown_lead_span()),
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
