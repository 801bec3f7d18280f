//! Results on standard output: text for people, one JSON object for scripts.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use leadspan_diagnosis::Diagnosis;
use serde::Serialize;

use crate::visible;

static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

/// A result that could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Standard output could not be written.
    #[error("could not write to standard output")]
    Stdout(#[source] io::Error),
}

impl Diagnosis for OutputError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Stdout(_) => Some("nothing else is lost: the same command writes its result again".to_owned()),
        }
    }
}

/// Writes text and a line end. What would steer a terminal is [written out](visible::escaped).
///
/// A reader that has gone away (`leadspan … | head`) is not an error: it has seen what it wanted.
///
/// # Errors
///
/// If standard output cannot be written for any other reason, such as a full disk.
pub(crate) fn text(shown: impl fmt::Display) -> Result<(), OutputError> {
    write(&format!("{}\n", visible::escaped(&shown.to_string())))
}

/// Writes one JSON object on one line.
///
/// # Errors
///
/// As [`text`].
pub(crate) fn json(value: &impl Serialize) -> Result<(), OutputError> {
    let json = serde_json::to_string(value).expect("results have text keys and finite numbers");
    write(&format!("{}\n", visible::escaped_json(&json)))
}

/// Whether somebody read standard output and has gone away, so that whoever shows something again and again may end.
pub(crate) fn reader_is_gone() -> bool {
    READER_IS_GONE.load(Ordering::Relaxed)
}

/// Writes text as it is: with sequences that the program itself draws with.
///
/// # Errors
///
/// As [`text`].
pub(crate) fn write(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            READER_IS_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => written.map_err(OutputError::Stdout),
    }
}
