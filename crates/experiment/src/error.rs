//! The errors of sweeps, runs and reports.

use std::{
    io,
    path::{Path, PathBuf},
};

use leadspan_diagnosis::Diagnosis;
use leadspan_files::{FileError, Refusal};

/// A sweep that cannot be planned, runs that cannot be read, or a report that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// A folder that does not exist.
    #[error("there is no folder `{}`", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A folder that is neither a run nor contains runs.
    #[error("`{}` is neither a run, because it has no `run.json`, nor a folder of runs", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A file of a run that cannot be parsed.
    #[error("`{}` cannot be parsed{}", path.display(), line.map_or_else(String::new, |line| format!(", at line {line}")))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, if each line is an object of its own.
        line: Option<usize>,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A file of a run that contradicts itself or another one.
    #[error("`{}` cannot be right: it {problem}", path.display())]
    Contradicts {
        /// The file.
        path: PathBuf,
        /// What cannot be right.
        problem: String,
    },
    /// A file or folder that cannot be read.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file of the report that cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
    /// A plot that cannot be drawn.
    #[error("could not draw the plot `{title}`: {because}")]
    Drawing {
        /// Its title.
        title: String,
        /// What the drawing library reports.
        because: String,
    },
    /// A key of a sweep without a value.
    #[error("`{key}` has no values to sweep over")]
    NoValues {
        /// The key with its table.
        key: String,
    },
    /// A value that a sweep lists twice.
    #[error("`{key}` has the value {value} twice")]
    RepeatedValue {
        /// The key with its table.
        key: String,
        /// The value as it was written.
        value: String,
    },
    /// A key that a sweep has in two places.
    #[error("`{key}` is twice in `[sweep]`, or in one of its cases")]
    RepeatedKey {
        /// The key with its table.
        key: String,
    },
    /// A case that a sweep lists twice.
    #[error("case {second} of `sweep.cases` is the same as case {first}")]
    RepeatedCase {
        /// The number of the first, counted from 1.
        first: usize,
        /// The number of the second.
        second: usize,
    },
    /// A name of a case that not every file system takes.
    #[error("{name:?} cannot be the name of a case")]
    CaseName {
        /// The name.
        name: String,
    },
    /// Two runs of a sweep whose folders would have the same name.
    #[error("two runs of the sweep would have the folder `{name}`")]
    RepeatedName {
        /// The name.
        name: String,
    },
    /// A value of `train.lead_span_proportion` that is not a proportion.
    #[error("{value} is not a lead-span proportion")]
    NotAProportion {
        /// The value as it was written.
        value: String,
    },
    /// A sweep of too many runs.
    #[error("the lists make {runs} runs, and a sweep has {most} at most")]
    TooManyRuns {
        /// How many there would be.
        runs: usize,
        /// How many there may be.
        most: usize,
    },
    /// A page that cannot be filled in.
    #[error("could not fill in the report's page")]
    Page(#[source] minijinja::Error),
}

/// What to do about a file of a run that cannot be used.
fn way_out(path: &Path) -> String {
    match path.parent() {
        Some(folder) if folder.ends_with("evaluation") => {
            format!(
                "leave this run out, or remove `{}` and evaluate it again",
                folder.display()
            )
        }
        _ if path.ends_with("run.json") => {
            "leave this folder out if another program wrote that file, or remove the folder and train the run again"
                .into()
        }
        _ if path.ends_with("sweep.json") => {
            format!("remove `{}`: the next `leadspan sweep` writes it again", path.display())
        }
        _ => "leave this run out, or remove its folder and train it again".into(),
    }
}

impl Diagnosis for ExperimentError {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Write(error) => error.is_unexpected(),
            Self::Drawing { .. } | Self::Page(_) => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } | Self::NotARun { .. } => {
                Some("name folders that `leadspan train` wrote (`train.dir`), or a folder of such folders".into())
            }
            Self::NoValues { key } => Some(format!("give `{key}` a list of values in `[sweep]`, or remove it")),
            Self::RepeatedValue { .. } => {
                Some("list each value once; repeat runs with several values of `seed`".into())
            }
            Self::RepeatedKey { key } => Some(format!(
                "give `{key}` once: as a list in `[sweep]`, or as a setting of cases"
            )),
            Self::RepeatedCase { .. } => Some("list each case once; repeat runs with several values of `seed`".into()),
            Self::RepeatedName { .. } => Some("give each case a name of its own, or put these runs into two pipeline files".into()),
            Self::CaseName { .. } => Some(
                "folders get this name: use at most 40 letters, digits, `-`, `_`, `+` and `.`, a letter or a digit first".into(),
            ),
            Self::TooManyRuns { .. } => Some("divide the lists among several pipeline files".into()),
            Self::Damaged { path, .. } | Self::Contradicts { path, .. } => Some(way_out(path)),
            Self::Io { source, path, .. } if matches!(Refusal::of(source), Some(Refusal::NotAFolder(_))) => {
                leadspan_files::hint(source, path).or_else(|| Some("leave this run out".into()))
            }
            Self::Io { source, .. } if Refusal::of(source).is_some() => {
                Some("leave this run out, or put the file that the run wrote in its place".into())
            }
            Self::Io { source, path, .. } => leadspan_files::hint(source, path),
            Self::Write(error) => error.hint(),
            _ => None,
        }
    }
}
