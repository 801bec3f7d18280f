//! A failure on its way to the user: the error, what was being attempted, and how both are shown.

use std::{error::Error, fmt::Write as _, iter, panic};

use leadspan_diagnosis::Diagnosis;

use crate::{backtrace, exit_code, given};

const REPORT: &str = "this looks like a fault of leadspan or of the machine; if it happens again, report it with the \
                      command, this message and the output with `RUST_BACKTRACE=1`";

/// An error and what was being attempted when it happened.
///
/// `?` makes one of every error that has a [`Diagnosis`], and of no other.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The innermost attempt first.
    attempts: Vec<String>,
    error: Box<dyn Diagnosis + Send + Sync>,
}

/// What a command returns.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl<E: Diagnosis + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            attempts: Vec::new(),
            error: Box::new(error),
        }
    }
}

/// Says what was being attempted when an error happened.
pub(crate) trait Context<T> {
    /// Adds the attempt, which is only put into words if there is an error.
    ///
    /// # Errors
    ///
    /// The error that there was, with the attempt.
    fn with_context(self, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Failure>> Context<T> for Result<T, E> {
    fn with_context(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let mut failure = error.into();
            failure.attempts.push(attempt());
            failure
        })
    }
}

impl Failure {
    /// The exit code: whether the user can mend it.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.error.is_unexpected() {
            exit_code::UNEXPECTED
        } else {
            exit_code::WRONG_INPUT
        }
    }

    /// The texts of the error and its causes, outermost first.
    fn chain(&self) -> impl Iterator<Item = String> {
        let error: &(dyn Error + 'static) = &*self.error;
        iter::successors(Some(error), |&error| error.source()).map(ToString::to_string)
    }

    /// The attempts, the error and its causes, each once and on one line, outermost first.
    fn causes(&self) -> Vec<String> {
        let attempts = self.attempts.iter().rev().cloned();
        let mut causes: Vec<String> = Vec::new();
        for cause in attempts.chain(self.chain()).map(|text| one_line(&text)) {
            // Some libraries repeat their cause in their own text.
            if !causes.iter().any(|earlier| earlier.contains(&cause)) {
                causes.push(cause);
            }
        }
        causes
    }

    /// The failure as it is shown: every cause on a line of its own, where the settings that it is about were given, the fix if
    /// one is known, and the backtrace if there is one.
    pub(crate) fn described(&self) -> String {
        let mut text = String::new();
        for (place, cause) in self.causes().iter().enumerate() {
            let label = if place == 0 { "error" } else { "  caused by" };
            let _ = writeln!(text, "{label}: {cause}");
        }
        for note in given::notes_about(&self.causes()) {
            let _ = writeln!(text, "note: {note}");
        }
        let report = || self.error.is_unexpected().then(|| REPORT.to_owned());
        if let Some(hint) = self.error.hint().or_else(report) {
            let _ = writeln!(text, "hint: {hint}");
        }
        let traced = self
            .chain()
            .find_map(|cause| backtrace::split_off(&cause).1.map(str::to_owned));
        if let Some(backtrace) = traced {
            let _ = writeln!(text, "backtrace:\n{}", backtrace.trim_end());
        }
        text
    }

    /// The failure and its causes on one line.
    pub(crate) fn in_a_line(&self) -> String {
        self.causes().join(": ")
    }
}

/// The text on one line, without a backtrace behind it.
fn one_line(text: &str) -> String {
    let (text, _) = backtrace::split_off(text);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

/// Shows a panic of any thread as one readable message. A panic that becomes an error is shown as that error only.
///
/// With `RUST_BACKTRACE` set, the standard message with its backtrace comes first.
pub(crate) fn report_panics() {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if leadspan_files::panics_become_errors() {
            return;
        }
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            standard(info);
        }
        let place = info
            .location()
            .map_or_else(String::new, |location| format!(" at {location}"));
        let message = info.payload_as_str().unwrap_or("no message");
        crate::show_error(&format!(
            "error: leadspan failed unexpectedly{place}\n  caused by: {message}\nhint: {REPORT}\n"
        ));
    }));
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use leadspan_model::ModelError;

    use super::*;

    fn missing_model() -> ModelError {
        ModelError::NotFound {
            path: PathBuf::from("teacher"),
        }
    }

    fn failing(error: impl Into<Failure>, attempts: &[&str]) -> Failure {
        let mut failed = Err::<(), Failure>(error.into());
        for attempt in attempts {
            failed = failed.with_context(|| (*attempt).to_owned());
        }
        failed.unwrap_err()
    }

    #[test]
    fn a_failure_shows_what_was_tried_each_cause_once_and_the_fix() {
        let failure = failing(missing_model(), &["could not prepare `cache`"]);
        assert_eq!(
            failure.described(),
            "error: could not prepare `cache`\n  caused by: no model at `teacher`\n\
             hint: give a directory in the Hugging Face layout (with `config.json`), a `.gguf` file, or the id of a \
             downloaded Hub model\n"
        );
        assert_eq!(failure.in_a_line(), "could not prepare `cache`: no model at `teacher`");
        let repeated = failing(io::Error::other("disk full"), &["could not write: disk full"]);
        assert_eq!(repeated.described().matches("disk full").count(), 1);
        assert_eq!(repeated.in_a_line(), "could not write: disk full");
    }

    #[test]
    fn a_backtrace_of_the_tensor_library_stands_behind_the_message() {
        let error = candle_core::Error::WithBacktrace {
            inner: Box::new(candle_core::Error::Msg("shapes differ".to_owned())),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        let failure = failing(ModelError::Tensor(error), &["could not train"]);
        assert!(!failure.in_a_line().contains("0: "), "{}", failure.in_a_line());
        assert!(failure.in_a_line().contains("shapes differ"));
        let described = failure.described();
        let (message, backtrace) = described.split_once("backtrace:\n").unwrap();
        assert!(message.contains("hint: ") && !message.contains("0: "), "{message}");
        assert!(backtrace.trim_start().starts_with("0: "));
    }

    #[test]
    fn exit_codes_tell_wrong_input_from_failures() {
        assert_eq!(failing(missing_model(), &[]).exit_code(), exit_code::WRONG_INPUT);
        assert_eq!(
            failing(missing_model(), &["a", "b"]).exit_code(),
            exit_code::WRONG_INPUT
        );
        let unknown = failing(io::Error::other("who knows"), &[]);
        assert_eq!(unknown.exit_code(), exit_code::UNEXPECTED);
        assert!(unknown.described().contains("report it with the command"));
        let broken = ModelError::Tensor(candle_core::Error::Msg("no".to_owned()));
        assert_eq!(failing(broken, &["could not train"]).exit_code(), exit_code::UNEXPECTED);
    }
}
