//! Where a setting was written: at a line of the pipeline file, or on the command line.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the pipeline file.
    Line { file: PathBuf, line: usize },
    /// On the command line, as it was given.
    Override(String),
}

impl Place {
    pub(crate) fn line(file: &Path, line: usize) -> Self {
        Self::Line {
            file: file.to_owned(),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(formatter, "`{}`, line {line}", file.display()),
            Self::Override(given) => write!(formatter, "`--set {given}`"),
        }
    }
}
