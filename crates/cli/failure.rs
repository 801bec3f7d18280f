//! How failures are shown and which exit code they become.

use std::{error::Error, fmt::Write as _, panic};

use leadspan_cache::CacheError;
use leadspan_corpus::CorpusError;
use leadspan_evaluate::EvaluateError;
use leadspan_experiment::ExperimentError;
use leadspan_model::ModelError;
use leadspan_precompute::PrecomputeError;
use leadspan_train::TrainError;

use crate::{
    commands::{Incomplete, PlanRefusal, QuickstartRefusal, SweepError},
    configuration_error::ConfigurationError,
    output::OutputError,
    replay::ReplayError,
    scheduler::UnclearWorker,
};

/// The input or the configuration is wrong.
pub(crate) const WRONG_INPUT: u8 = 1;
/// Something failed that the user did not cause.
pub(crate) const UNEXPECTED: u8 = 2;
/// A signal stopped the run; the same command continues it.
pub(crate) const STOPPED: u8 = 75;

const REPORT: &str = "this looks like a fault of leadspan or of the machine; if it happens again, report it with the \
                      command, this message and the output with `RUST_BACKTRACE=1`";

/// What a known error says about itself beyond its text.
struct Verdict {
    unexpected: bool,
    hint: Option<String>,
}

fn verdict(cause: &(dyn Error + 'static)) -> Option<Verdict> {
    macro_rules! of_library_errors {
        ($($kind:ty),*) => {
            $(if let Some(error) = cause.downcast_ref::<$kind>() {
                return Some(Verdict { unexpected: error.is_unexpected(), hint: error.hint() });
            })*
        };
    }
    of_library_errors!(
        CacheError,
        CorpusError,
        EvaluateError,
        ExperimentError,
        ModelError,
        PrecomputeError,
        ReplayError,
        TrainError
    );
    if let Some(error) = cause.downcast_ref::<ConfigurationError>() {
        return Some(Verdict {
            unexpected: false,
            hint: error.hint(),
        });
    }
    if let Some(refusal) = cause.downcast_ref::<PlanRefusal>() {
        return Some(Verdict {
            unexpected: false,
            hint: Some(refusal.hint()),
        });
    }
    if let Some(error) = cause.downcast_ref::<UnclearWorker>() {
        return Some(Verdict {
            unexpected: false,
            hint: Some(error.hint()),
        });
    }
    if let Some(incomplete) = cause.downcast_ref::<Incomplete>() {
        return Some(Verdict {
            unexpected: false,
            hint: Some(incomplete.hint()),
        });
    }
    if let Some(error) = cause.downcast_ref::<SweepError>() {
        return Some(Verdict {
            unexpected: error.is_unexpected(),
            hint: Some(error.hint()),
        });
    }
    if let Some(refusal) = cause.downcast_ref::<QuickstartRefusal>() {
        return Some(Verdict {
            unexpected: refusal.is_unexpected(),
            hint: Some(refusal.hint()),
        });
    }
    cause.downcast_ref::<OutputError>().map(|_| Verdict {
        unexpected: false,
        hint: None,
    })
}

/// The exit code: 1 where an error of the chain is known to be about input or configuration, else 2.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let mut verdicts = error.chain().filter_map(verdict).peekable();
    if verdicts.peek().is_none() || verdicts.any(|verdict| verdict.unexpected) {
        UNEXPECTED
    } else {
        WRONG_INPUT
    }
}

/// The error, each of its causes once, and the fix where one is known.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut shown: Vec<String> = Vec::new();
    for cause in error.chain().map(one_line) {
        // Some libraries repeat their cause in their own text.
        if shown.iter().any(|earlier| earlier.contains(&cause)) {
            continue;
        }
        let label = if shown.is_empty() { "error" } else { "  caused by" };
        let _ = writeln!(text, "{label}: {cause}");
        shown.push(cause);
    }
    let hint = error.chain().filter_map(verdict).find_map(|verdict| verdict.hint);
    let hint = hint.or_else(|| (exit_code(error) == UNEXPECTED).then(|| REPORT.to_owned()));
    if let Some(hint) = hint {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

/// The error and its causes, each once, in a line.
pub(crate) fn in_a_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(one_line) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

fn one_line(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

/// Makes a panic, of whatever thread, one readable message; one that becomes an error is told as that.
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
    use std::path::PathBuf;

    use anyhow::Context as _;

    use super::*;

    fn missing_model() -> ModelError {
        ModelError::NotFound {
            path: PathBuf::from("teacher"),
        }
    }

    #[test]
    fn a_failure_shows_what_was_tried_each_cause_once_and_the_fix() {
        let error = Err::<(), _>(missing_model())
            .context("could not prepare `cache`")
            .unwrap_err();
        assert_eq!(
            describe(&error),
            "error: could not prepare `cache`\n  caused by: no model at `teacher`\n\
             hint: give a directory in the Hugging Face layout (with `config.json`), a `.gguf` file, or the id of a \
             downloaded Hub model\n"
        );
        let repeated = anyhow::anyhow!("disk full").context("could not write: disk full");
        assert_eq!(describe(&repeated).matches("disk full").count(), 1);
        assert_eq!(in_a_line(&error), "could not prepare `cache`: no model at `teacher`");
        assert_eq!(in_a_line(&repeated), "could not write: disk full");
    }

    #[test]
    fn exit_codes_tell_wrong_input_from_failures() {
        assert_eq!(exit_code(&missing_model().into()), WRONG_INPUT);
        assert_eq!(
            exit_code(&anyhow::Error::from(missing_model()).context("a").context("b")),
            WRONG_INPUT
        );
        assert_eq!(exit_code(&anyhow::anyhow!("who knows")), UNEXPECTED);
        let broken = ModelError::Tensor(candle_core::Error::Msg("no".to_owned()));
        assert_eq!(
            exit_code(&anyhow::Error::from(broken).context("could not train")),
            UNEXPECTED
        );
    }
}
