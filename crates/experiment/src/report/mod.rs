//! One page and one table about many runs.
//!
//! The page is self-contained: it includes its plots and its style, has no scripts and fetches nothing. Its content is made in
//! `parts/` and the files beside it, its appearance is defined in `page.html` and `style.css`.

mod failures;
mod figure;
mod headline;
mod measure;
mod parts;
mod plot;
mod seeds;
mod series;
mod shown;
mod table;
mod terminal;
#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use leadspan_files::{commit_bytes, visible_page};
use minijinja::{Environment, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use crate::{ExperimentError, Run};

/// The report of several runs: a page for people and a table for programs.
#[derive(Clone, Debug)]
pub struct Report {
    /// The page, HTML.
    pub page: String,
    /// Comma-separated values, one row for each run.
    pub table: String,
    /// The result in one or two sentences.
    pub headline: String,
    /// The finished runs as a table for a terminal, means over seeds; `None` if no run is finished.
    pub text: Option<String>,
}

/// The values that fill in the page.
#[derive(Serialize)]
struct Page {
    style: &'static str,
    view_box: String,
    headline: headline::Headline,
    parts: Vec<parts::Part>,
    failures: failures::Failures,
    runs: figure::Table,
}

impl Report {
    /// The name of the page in the report's folder.
    pub const PAGE: &'static str = "index.html";
    /// The name of the table.
    pub const TABLE: &'static str = "runs.csv";

    /// Makes the report of `runs`.
    ///
    /// # Errors
    ///
    /// If a plot cannot be drawn or the page cannot be filled in; both are faults of this crate.
    pub fn new(runs: &[Run]) -> Result<Self, ExperimentError> {
        let series = series::series(runs);
        let measure = measure::Measure::choose(runs);
        let headline = headline::headline(&series, measure);
        let sentence = headline.sentences.join(" ");
        let page = Page {
            style: include_str!("style.css"),
            view_box: plot::Plot::view_box(),
            headline,
            parts: parts::parts(runs, &series, measure)?,
            failures: failures::failures(runs),
            runs: parts::every_run(runs),
        };
        Ok(Self {
            // Ids, questions and answers come from elsewhere.
            page: visible_page(&filled_in(page).map_err(ExperimentError::Page)?),
            table: table::table(runs),
            headline: sentence,
            text: terminal::text_table(&series, measure),
        })
    }

    /// Writes the page and the table into the folder `dir`, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// If the file system refuses.
    pub fn write(&self, dir: &Path) -> Result<(), ExperimentError> {
        fs::create_dir_all(dir).map_err(|source| ExperimentError::Io {
            action: "create",
            path: dir.to_owned(),
            source,
        })?;
        // The page is what tells a report from other folders, so it comes first.
        commit_bytes(&dir.join(Self::PAGE), self.page.as_bytes())?;
        commit_bytes(&dir.join(Self::TABLE), self.table.as_bytes())?;
        Ok(())
    }
}

/// Fills in the template, which escapes everything not marked as safe.
fn filled_in(page: Page) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    // The engine escapes HTML because of the extension of the name.
    environment.add_template("page.html", include_str!("page.html"))?;
    environment.get_template("page.html")?.render(Serde(page))
}
