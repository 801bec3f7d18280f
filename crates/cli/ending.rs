//! How a command ends: what it says at last, and its exit code.

use crate::{exit_code, failure::Result, last_line, logs, signals};

/// How a command ended if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is done.
    Done,
    /// It was stopped.
    Stopped,
    /// Another process of the same launch failed and shows its error; the exit code that goes with it.
    FailedElsewhere(u8),
    /// It has been [concluded](conclude), with this exit code.
    Concluded(u8),
}

/// Shows the error of a command that failed, writes the closing line, and returns the exit code. `None` is a command that panicked.
///
/// A command is concluded once: later calls write nothing, and return the exit code of the first.
pub(crate) fn conclude(ended: Option<Result<Ending>>) -> u8 {
    let (outcome, code, error) = match ended {
        Some(Ok(Ending::Done)) => ("done", exit_code::DONE, None),
        Some(Ok(Ending::Stopped)) => ("stopped", exit_code::STOPPED, None),
        // Another process says why.
        Some(Ok(Ending::FailedElsewhere(code))) => ("failed", code, None),
        Some(Ok(Ending::Concluded(code))) => return code,
        Some(Err(failure)) => {
            logs::write(&failure.described());
            ("failed", failure.exit_code(), Some(failure.in_a_line()))
        }
        // The panic hook has said what happened.
        None => (
            "failed",
            exit_code::UNEXPECTED,
            Some("leadspan failed unexpectedly".to_owned()),
        ),
    };
    last_line::write(&last_line::Conclusion {
        outcome,
        exit_code: code,
        stopped_by: signals::cause().filter(|_| outcome == "stopped"),
        error: error.as_deref(),
    })
}
