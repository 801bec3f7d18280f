//! Results on standard output: text for people, one JSON object for scripts.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
};

use leadspan_diagnosis::Diagnosis;
use serde::Serialize;

/// A result that could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Standard output could not be written.
    #[error("could not write to standard output")]
    Stdout(#[source] io::Error),
}

impl Diagnosis for OutputError {}

/// Writes text and a line end.
///
/// A reader that has gone away (`leadspan … | head`) is not an error: it has seen what it wanted.
///
/// # Errors
///
/// If standard output cannot be written for any other reason, such as a full disk.
pub(crate) fn text(shown: impl fmt::Display) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{shown}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(OutputError::Stdout(error)),
        _ => Ok(()),
    }
}

/// Writes one JSON object on one line.
///
/// # Errors
///
/// As [`text`].
pub(crate) fn json(value: &impl Serialize) -> Result<(), OutputError> {
    text(serde_json::to_string(value).expect("results have text keys and finite numbers"))
}
