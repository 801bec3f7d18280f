//! `leadspan report`: what many runs show.

use leadspan_experiment::{Report, RunState, read_runs};
use serde_json::json;

use super::{Ending, Showing};
use crate::{
    arguments::ReportArguments,
    failure::{Context as _, Result},
    output,
};

pub(super) fn run(arguments: &ReportArguments, showing: Showing) -> Result<Ending> {
    let dir = &arguments.out;
    let attempt = || format!("could not write the report `{}`", dir.display());
    let runs = read_runs(&arguments.runs).with_context(attempt)?;
    let report = Report::new(&runs).with_context(attempt)?;
    report.write(dir).with_context(attempt)?;
    let unfinished = runs
        .iter()
        .filter(|run| matches!(run.state, RunState::Unfinished { .. }));
    let (page, unfinished) = (dir.join(Report::PAGE), unfinished.count());
    if showing.json {
        output::json(&json!({
            "page": page,
            "table": dir.join(Report::TABLE),
            "runs": runs.len(),
            "unfinished": unfinished,
            "headline": report.headline,
        }))?;
    } else {
        if let Some(table) = &report.text {
            output::text(format_args!("{table}\n"))?;
        }
        output::text(format_args!("{}", report.headline))?;
        let of = match unfinished {
            0 => String::new(),
            some => format!(", {some} of them unfinished"),
        };
        output::text(format_args!("`{}`: {} runs{of}", page.display(), runs.len()))?;
    }
    Ok(Ending::Done)
}
