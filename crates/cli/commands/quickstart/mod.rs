//! `leadspan quickstart`: runs all commands, one after the other, on a model family that is part of the program.

mod closing;
mod family;
mod steps;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use leadspan_diagnosis::Diagnosis;
use leadspan_experiment::read_runs;
use leadspan_files::FileError;

use self::steps::{Step, steps};
use super::{Ending, Showing};
use crate::{
    amounts::{bytes, duration},
    arguments::{self, LogLevel, ProgressStyle},
    child::{self, ChildEnd},
    exit_code,
    failure::{Context as _, Result},
    free_space::free_bytes,
    output, signals,
    time_span::TimeSpan,
};

/// The folder of the quickstart, in the current folder.
const FOLDER: &str = "leadspan-quickstart";

/// A quickstart that is stopped waits for its step for this much longer than the step's own grace period.
const LONGER: Duration = Duration::from_secs(2);

/// Where less is free, a step that fails may have failed for lack of space. The finished folder takes nine tenths of it.
const ROOM: u64 = 40 << 20;

/// Why a quickstart cannot continue.
#[derive(Debug, thiserror::Error)]
enum QuickstartRefusal {
    /// A file of the family differs from the built-in one.
    #[error("`{}` differs from the built-in file", path.display())]
    Changed { path: PathBuf },
    /// There is no folder, and there can be none.
    #[error("`{}` is {what}, and the quickstart needs a folder of this name", path.display())]
    NoFolder { path: PathBuf, what: String },
    /// Somebody else made the folder.
    #[error("the quickstart did not make the folder `{}`, which has `{}`", path.display(), found.display())]
    Foreign { path: PathBuf, found: PathBuf },
    /// A file of the family cannot be read, written or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A command failed with a message of its own.
    #[error("`{command}` failed")]
    Step {
        command: String,
        end: ChildEnd,
        /// Free space, if the system tells.
        free: Option<u64>,
    },
}

impl Diagnosis for QuickstartRefusal {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Changed { .. } | Self::NoFolder { .. } | Self::Foreign { .. } => false,
            Self::File(error) => error.is_unexpected(),
            Self::Step { end, .. } => end.exit_code() != exit_code::WRONG_INPUT,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Changed { .. } => "`--fresh` starts over; to try changes, copy the folder, and run in the copy the \
                                     commands that the quickstart shows"
                .into(),
            Self::NoFolder { path, .. } | Self::Foreign { path, .. } => {
                format!("run the command in another folder, or move `{}` away", path.display())
            }
            Self::File(error) => match error.source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "run the command in a folder in which you may write".into()
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(
                    "free some space, or run the command in another folder: a quickstart takes some {}",
                    bytes(ROOM)
                ),
                _ if error.is_unexpected() => return None,
                _ => error.hint().unwrap_or_else(|| "`--fresh` starts over".into()),
            },
            Self::Step {
                end: ChildEnd::Died(status),
                ..
            } => format!(
                "it did not end by itself ({status}); the same command continues from there, and `--fresh` starts over"
            ),
            Self::Step { free: Some(free), .. } if *free < ROOM => format!(
                "its message is above; only {} are free here, and a quickstart takes some {}: free some space and run the same \
                 command again, which continues from there, or run it in another folder",
                bytes(*free),
                bytes(ROOM)
            ),
            Self::Step { .. } => {
                "its message is above; the same command continues from there, and `--fresh` starts over".into()
            }
        })
    }
}

pub(super) fn run(arguments: &arguments::QuickstartArguments, showing: Showing) -> Result<Ending> {
    let began = Instant::now();
    signals::limit(None, Some(TimeSpan(signals::GRACE + LONGER)))?;
    let stop = signals::stop_on_signals("stopping the current step; run the same command again to continue");
    let folder = Path::new(FOLDER);
    family::check(folder)?;
    if arguments.fresh {
        family::remove(folder)?;
    }
    family::unpack(folder)?;
    let continues = family::has_begun(folder);
    let steps = steps(folder);
    for (number, step) in steps.iter().enumerate() {
        if !showing.json {
            let place = format!("{}/{}", number + 1, steps.len());
            let gap = if number == 0 { "" } else { "\n" };
            output::text(format_args!("{gap}{place}  {}\n     $ {}", step.what, step.typed()))?;
        }
        let arguments = arguments_of(step, showing);
        let end = child::run(
            &arguments,
            None,
            (Stdio::inherit(), Stdio::inherit()),
            &stop,
            &mut || {},
        )
        .with_context(|| format!("could not run `{}`", step.typed()))?;
        match end {
            ChildEnd::Done if !stop.load(Ordering::Relaxed) => {}
            ChildEnd::Done | ChildEnd::Stopped => return Ok(Ending::Stopped),
            ChildEnd::Failed(_) | ChildEnd::Died(_) => {
                let (command, free) = (step.typed(), free_bytes(folder));
                return Err(QuickstartRefusal::Step { command, end, free }.into());
            }
        }
    }
    if !showing.json {
        let runs = read_runs(&[folder.join("runs")]).with_context(|| "could not read the runs".to_owned())?;
        if let Some(closing) = closing::closing(&runs) {
            output::text(format_args!("\n{closing}"))?;
        }
        let took = duration(began.elapsed());
        if continues {
            output::text(format_args!("\nthis part in {took}; the rest was done before"))?;
        } else {
            output::text(format_args!("\nall of it in {took}"))?;
        }
    }
    Ok(Ending::Done)
}

/// The log level of a step. Beside a bar, the result of each command is enough; without one, the log shows the progress.
fn log_level(showing: Showing) -> LogLevel {
    match showing.log_level {
        LogLevel::Info if showing.progress.is_bar() => LogLevel::Warn,
        level => level,
    }
}

/// The arguments of the step, with those by which it shows progress and results as this command does.
fn arguments_of(step: &Step, showing: Showing) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = step.arguments.iter().map(OsString::from).collect();
    if ["precompute", "sweep"].contains(&&*step.arguments[0]) {
        // One worker does everything, even if the environment of a scheduler names one of many.
        arguments.extend(["--worker", "0/1"].map(OsString::from));
    }
    if step.arguments[0] == "sweep" {
        // The report of the last step shows the same table.
        arguments.push("--without-table".into());
    }
    arguments.extend(["--log-level".into(), log_level(showing).given().into()]);
    match showing.progress {
        ProgressStyle::Auto => {}
        ProgressStyle::Bar => arguments.extend(["--progress", "bar"].map(OsString::from)),
        ProgressStyle::Lines => arguments.extend(["--progress", "lines"].map(OsString::from)),
    }
    if showing.json {
        arguments.push("--json".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_log_their_progress_where_there_is_no_bar() {
        let level = |progress, level| {
            let showing = Showing {
                json: false,
                progress,
                log_level: level,
            };
            log_level(showing).given()
        };
        assert_eq!(level(ProgressStyle::Lines, LogLevel::Info), "info");
        assert_eq!(level(ProgressStyle::Bar, LogLevel::Info), "warn");
        assert_eq!(level(ProgressStyle::Bar, LogLevel::Debug), "debug");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_fault_of_leadspan_and_has_a_way_out() {
        for (kind, hint) in [
            (io::ErrorKind::PermissionDenied, "run the command in a folder in which"),
            (
                io::ErrorKind::ReadOnlyFilesystem,
                "run the command in a folder in which",
            ),
            (
                io::ErrorKind::StorageFull,
                "free some space, or run the command in another folder",
            ),
            (io::ErrorKind::NotADirectory, "`--fresh` starts over"),
        ] {
            let refusal = QuickstartRefusal::from(FileError::io("write", FOLDER)(kind.into()));
            assert!(!refusal.is_unexpected(), "{refusal}");
            assert!(refusal.hint().unwrap().starts_with(hint), "{:?}", refusal.hint());
        }
        let broken = QuickstartRefusal::from(FileError::io("write", FOLDER)(io::Error::other("who knows")));
        assert!(broken.is_unexpected() && broken.hint().is_none());
    }

    #[test]
    fn a_step_that_fails_where_little_is_free_says_so() {
        let hint = |free| {
            let (command, end) = ("leadspan plan".to_owned(), ChildEnd::Failed(exit_code::WRONG_INPUT));
            QuickstartRefusal::Step { command, end, free }.hint().unwrap()
        };
        assert!(
            hint(Some(3 << 20)).contains("only 3.0 MiB are free here"),
            "{}",
            hint(Some(3 << 20))
        );
        for free in [None, Some(ROOM)] {
            assert!(!hint(free).contains("free here"), "{}", hint(free));
        }
    }
}
