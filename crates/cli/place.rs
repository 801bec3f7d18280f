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
            Self::Override(given) => write!(formatter, "`--set {}`", without_secrets(given)),
            Self::Flag(given) => write!(formatter, "`{given}`"),
        }
    }
}

/// A `--set` as messages show it. What stands before the `@` of an address, or behind its `?` or `#`, may be a secret.
pub(crate) fn without_secrets(given: &str) -> String {
    let (name, value) = given.split_at(given.find('=').map_or(0, |at| at + 1));
    let mut shown = value.to_owned();
    if let Some(at) = shown.rfind('@').filter(|&at| shown[..at].contains(':')) {
        shown.replace_range(..at, "…");
    }
    let is_address = value.contains("://") || name.trim_start().starts_with("teacher.server");
    if is_address && let Some(at) = shown.find(['?', '#']) {
        shown.replace_range(at + 1.., "…");
    }
    format!("{name}{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_was_typed_is_not_shown() {
        for (given, shown) in [
            (
                "teacher.server=http://me:sesame@host:8000",
                "teacher.server=…@host:8000",
            ),
            ("teacher.server=\"http://me:ses@me/#?@host\"", "teacher.server=…@host\""),
            ("teacher.server=me:sesame@host", "teacher.server=…@host"),
            ("teacher.sever=http://me:sesame@host", "teacher.sever=…@host"),
            (
                "teacher.server=https://host/x?key=sesame",
                "teacher.server=https://host/x?…",
            ),
            ("teacher.server=https://host#sesame", "teacher.server=https://host#…"),
            ("http://me:sesame@host", "…@host"),
            // What holds no address stays.
            ("evaluate.system=Ask me@home? #1", "evaluate.system=Ask me@home? #1"),
            ("train.dir=runs/a=b", "train.dir=runs/a=b"),
        ] {
            let place = Place::Override(given.to_owned());
            assert_eq!(place.to_string(), format!("`--set {shown}`"));
        }
    }
}
