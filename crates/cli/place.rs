//! Where a setting was written: at a line of the pipeline file, or on the command line by `--set` or a flag.

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
    /// On the command line, by a flag of its own, as it was given.
    Flag(String),
}

impl Place {
    pub(crate) fn line(file: &Path, line: usize) -> Self {
        Self::Line {
            file: file.to_owned(),
            line,
        }
    }

    /// The place as it follows the words `is set`.
    pub(crate) fn after_set(&self) -> String {
        match self {
            Self::Line { .. } => format!("at {self}"),
            Self::Override(_) | Self::Flag(_) => format!("by {self}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(formatter, "`{}`, line {line}", file.display()),
            Self::Override(given) => write!(formatter, "`--set {given}`"),
            Self::Flag(given) => write!(formatter, "`{given}`"),
        }
    }
}
