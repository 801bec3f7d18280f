//! `leadspan quickstart`: the whole path on a model family that is part of the program, one command after the other.

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

/// All of the quickstart is in this folder, in the current one.
const FOLDER: &str = "leadspan-quickstart";

/// How much longer than its steps a quickstart that is stopped waits for them.
const LONGER: Duration = Duration::from_secs(2);

/// A quickstart that cannot go on.
#[derive(Debug, thiserror::Error)]
enum QuickstartRefusal {
    /// A file of the family is not what this program has.
    #[error("`{}` is not what this program puts there", path.display())]
    Changed { path: PathBuf },
    /// A command failed, and has said why.
    #[error("`{command}` failed")]
    Step { command: String, end: ChildEnd },
}

impl Diagnosis for QuickstartRefusal {
    fn is_unexpected(&self) -> bool {
        match self {
            Self::Changed { .. } => false,
            Self::Step { end, .. } => end.exit_code() != exit_code::WRONG_INPUT,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Changed { .. } => "`--fresh` starts over; to try changes, copy the folder, and run in the copy the \
                                     commands that the quickstart shows"
                .into(),
            Self::Step { .. } => {
                "what it says is above; the same quickstart goes on from there, and `--fresh` starts over".into()
            }
        })
    }
}

pub(super) fn run(arguments: &arguments::QuickstartArguments, showing: Showing) -> Result<Ending> {
    let began = Instant::now();
    signals::limit(None, Some(TimeSpan(signals::GRACE + LONGER)))?;
    let stop = signals::stop_on_signals("the step at hand is stopped; run the same command again to go on");
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
        let end = child::run(&arguments, (Stdio::inherit(), Stdio::inherit()), &stop, &mut || {})
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

/// What the step is run with: its own arguments, and how this command is to show things.
fn arguments_of(step: &Step, showing: Showing) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = step.arguments.iter().map(OsString::from).collect();
    if ["precompute", "sweep"].contains(&&*step.arguments[0]) {
        // All of it, also where a scheduler's environment says that this is one of many.
        arguments.extend(["--worker", "0/1"].map(OsString::from));
    }
    // Each command is told of by what it prints in the end.
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
