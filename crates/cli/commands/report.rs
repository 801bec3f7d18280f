//! `leadspan report`: compares many runs.

use std::{fmt, path::PathBuf};

use leadspan_experiment::{Report, RunState, read_runs};
use serde::Serialize;

use super::{Ending, Showing};
use crate::{
    arguments::ReportArguments,
    failure::{Context as _, Result},
    path_text,
};

pub(super) fn run(arguments: &ReportArguments, showing: Showing) -> Result<Ending> {
    let dir = &arguments.out;
    let attempt = || format!("could not write the report `{}`", dir.display());
    let runs = read_runs(&arguments.runs).with_context(|| "could not read the runs".to_owned())?;
    let report = Report::new(&runs).with_context(attempt)?;
    report.write(dir).with_context(attempt)?;
    let unfinished = runs
        .iter()
        .filter(|run| matches!(run.state, RunState::Unfinished { .. }));
    showing.result(&Written {
        page: dir.join(Report::PAGE),
        table: dir.join(Report::TABLE),
        runs: runs.len(),
        unfinished: unfinished.count(),
        headline: report.headline,
        text: report.text,
    })?;
    Ok(Ending::Done)
}

/// The result of the command.
#[derive(Serialize)]
struct Written {
    #[serde(serialize_with = "path_text::as_text")]
    page: PathBuf,
    #[serde(serialize_with = "path_text::as_text")]
    table: PathBuf,
    runs: usize,
    unfinished: usize,
    headline: String,
    /// The finished runs as a table of text, if there are any.
    #[serde(skip)]
    text: Option<String>,
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.text {
            write!(formatter, "{table}\n\n")?;
        }
        write!(
            formatter,
            "{}\n`{}`: {} runs",
            self.headline,
            self.page.display(),
            self.runs
        )?;
        match self.unfinished {
            0 => Ok(()),
            some => write!(formatter, ", {some} of them unfinished"),
        }
    }
}
