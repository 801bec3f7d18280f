//! `leadspan quickstart`: runs all commands, one after the other, on a model family that is part of the program.

mod family;
mod steps;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use leadspan_diagnosis::Diagnosis;

use self::steps::{Step, steps};
use super::{Ending, Showing};
use crate::{
    amounts::duration,
    arguments::{self, ProgressStyle},
    child::{self, ChildEnd},
    exit_code,
    failure::{Context as _, Result},
    output, signals,
    time_span::TimeSpan,
};

/// The folder of the quickstart, in the current folder.
const FOLDER: &str = "leadspan-quickstart";

/// A quickstart that is stopped waits for its step for this much longer than the step's own grace period.
const LONGER: Duration = Duration::from_secs(2);

/// Why a quickstart cannot continue.
#[derive(Debug, thiserror::Error)]
enum QuickstartRefusal {
    /// A file of the family differs from the built-in one.
    #[error("`{}` differs from the built-in file", path.display())]
    Changed { path: PathBuf },
    /// What is to be removed is no folder.
    #[error("`{}` is {what}, not a folder: nothing was removed", path.display())]
    NoFolder { path: PathBuf, what: &'static str },
    /// A command failed with a message of its own.
    #[error("`{command}` failed")]
    Step { command: String, end: ChildEnd },
}

impl Diagnosis for QuickstartRefusal {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Changed { .. } | Self::NoFolder { .. } => false,
            Self::Step { end, .. } => end.exit_code() != exit_code::WRONG_INPUT,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Changed { .. } => "`--fresh` starts over; to try changes, copy the folder, and run in the copy the \
                                     commands that the quickstart shows"
                .into(),
            Self::NoFolder { path, .. } => {
                format!(
                    "remove `{}` yourself, or run the command in another folder",
                    path.display()
                )
            }
            Self::Step {
                end: ChildEnd::Died(status),
                ..
            } => format!(
                "it did not end by itself ({status}); the same command continues from there, and `--fresh` starts over"
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
    if arguments.fresh {
        family::remove(folder)?;
    }
    family::unpack(folder)?;
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
                let command = step.typed();
                return Err(QuickstartRefusal::Step { command, end }.into());
            }
        }
    }
    if !showing.json {
        output::text(format_args!("\nall of it in {}", duration(began.elapsed())))?;
    }
    Ok(Ending::Done)
}

/// The arguments of the step, with those by which it shows progress and results as this command does.
fn arguments_of(step: &Step, showing: Showing) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = step.arguments.iter().map(OsString::from).collect();
    if ["precompute", "sweep"].contains(&&*step.arguments[0]) {
        // One worker does everything, even if the environment of a scheduler names one of many.
        arguments.extend(["--worker", "0/1"].map(OsString::from));
    }
    // The result of each command is enough.
    arguments.extend(["--log-level", "warn"].map(OsString::from));
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
