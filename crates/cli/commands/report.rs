//! `leadspan report`: compares many runs.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use leadspan_experiment::{Report, RunState, read_runs};
use leadspan_files::read_unlinked;
use serde::Serialize;

use super::{Ending, Showing};
use crate::{
    arguments::ReportArguments,
    failure::{Context as _, Result},
    outputs::{OutputRefusal, cache_around},
    path_text,
};

/// The title of every report.
const TITLE: &[u8] = b"<title>leadspan";

/// The most bytes of an existing page that are read.
const MOST_BYTES: u64 = 1 << 30;

pub(super) fn run(arguments: &ReportArguments, showing: Showing) -> Result<Ending> {
    let dir = &arguments.out;
    let attempt = || format!("could not write the report `{}`", dir.display());
    check(dir)?;
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

/// Refuses to write a report into a cache, or over a page that leadspan did not write.
fn check(dir: &Path) -> Result<()> {
    if let Some(cache) = cache_around(dir) {
        let path = dir.to_owned();
        return Err(OutputRefusal::InCache { path, cache }.into());
    }
    let path = dir.join(Report::PAGE);
    match read_unlinked(&path, MOST_BYTES) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Ok(page) if page.windows(TITLE.len()).any(|window| window == TITLE) => Ok(()),
        _ => Err(OutputRefusal::Foreign { path }.into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_report_replaces_only_a_report_and_is_not_written_into_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join(Report::PAGE);
        check(folder.path()).unwrap();
        fs::write(&page, "<title>my own page</title>").unwrap();
        assert!(
            check(folder.path())
                .unwrap_err()
                .described()
                .contains("leadspan did not write it")
        );
        fs::write(&page, "<title>leadspan: what the runs show</title>").unwrap();
        check(folder.path()).unwrap();
        fs::remove_file(&page).unwrap();
        fs::create_dir(&page).unwrap();
        assert!(check(folder.path()).is_err());
        fs::create_dir_all(folder.path().join("cache/layers")).unwrap();
        fs::write(folder.path().join("cache/identity.json"), "{}").unwrap();
        let error = check(&folder.path().join("cache/layers/report"))
            .unwrap_err()
            .described();
        assert!(error.contains("is inside the cache"), "{error}");
    }
}
