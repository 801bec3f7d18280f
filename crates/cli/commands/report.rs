//! `leadspan report`: compares many runs.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use leadspan_experiment::{Report, RunState, read_runs};
use leadspan_files::read_unlinked;
use serde::Serialize;

use super::{Ending, Showing};
use crate::{
    arguments::ReportArguments,
    failure::{Context as _, Result},
    outputs::{OutputRefusal, cache_around, obstacle, without_links},
    path_text,
};

/// The title of every report.
const TITLE: &[u8] = b"<title>leadspan";

/// The beginning of every table.
const HEAD: &[u8] = b"run,kind,state,lead_span_proportion,";

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

/// Refuses to write a report into a cache, into a folder with other files, or over a page or a table that leadspan did not write.
fn check(dir: &Path) -> Result<()> {
    if let Some(cache) = cache_around(dir) {
        let path = dir.to_owned();
        return Err(OutputRefusal::InCache { path, cache }.into());
    }
    let path = dir.to_owned();
    if let Some(found) = obstacle(&without_links(dir)) {
        return Err(OutputRefusal::NotAFolder { path, found }.into());
    }
    let is_page = |page: &[u8]| page.windows(TITLE.len()).any(|window| window == TITLE);
    let page = is_ours(&dir.join(Report::PAGE), is_page)?;
    let table = is_ours(&dir.join(Report::TABLE), |table| table.starts_with(HEAD))?;
    if page || table {
        return Ok(());
    }
    match others(dir) {
        None => Ok(()),
        Some(found) => Err(OutputRefusal::Occupied { path, found }.into()),
    }
}

/// Whether there is a file at `path`, which must then be one of a report.
fn is_ours(path: &Path, is_of_report: impl Fn(&[u8]) -> bool) -> Result<bool, OutputRefusal> {
    match read_unlinked(path, MOST_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok(bytes) if is_of_report(&bytes) => Ok(true),
        _ => Err(OutputRefusal::Foreign { path: path.to_owned() }),
    }
}

/// The first file in a folder. Names that begin with a dot are those of temporary files.
fn others(dir: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    let first = names.filter(|name| !name.as_encoded_bytes().starts_with(b".")).min();
    first.map(PathBuf::from)
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
        let [page, table] = [Report::PAGE, Report::TABLE].map(|name| folder.path().join(name));
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
        fs::write(&table, "mine,1").unwrap();
        let said = |dir: &Path| check(dir).unwrap_err().described();
        assert!(said(folder.path()).contains("runs.csv` exists already, and leadspan did not write it"));
        // A report that was killed between its files.
        fs::remove_file(&page).unwrap();
        fs::write(&table, "run,kind,state,lead_span_proportion,more\r\n").unwrap();
        check(folder.path()).unwrap();
        fs::remove_file(&table).unwrap();
        fs::write(folder.path().join(".index.html.kill00.tmp"), "").unwrap();
        check(folder.path()).unwrap();
        check(&folder.path().join("new/report")).unwrap();
        for name in ["config.json", "notes"] {
            let path = folder.path().join(name);
            fs::write(&path, "{}").unwrap();
            assert!(said(folder.path()).contains(&format!("has `{name}`, but is not the folder of a report")));
            let said = said(&path);
            assert!(said.contains(&format!("{name}` is a file")), "{said}");
            fs::remove_file(&path).unwrap();
        }
        assert!(said(Path::new("/dev/report")).contains("which belongs to the system"));
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
