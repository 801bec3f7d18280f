//! `leadspan sweep --dry-run`: the runs, how far they have come, and the commands that they are made of.

use std::{ffi::OsString, iter};

use serde_json::json;

use super::{folder::RunFolder, jobs::Sweep};
use crate::{arguments, commands::Showing, failure::Result, output};

/// Lists the runs, how far they have come, and the commands that they are made of.
pub(super) fn show(
    sweep: &Sweep,
    mine: &[usize],
    arguments: &arguments::SweepArguments,
    showing: Showing,
) -> Result<()> {
    for &place in mine {
        let job = &sweep.jobs[place];
        let state = RunFolder(&job.folder).state(sweep.evaluate).name();
        let needed = job.planned.as_long_as.map(|other| &sweep.jobs[other]);
        let flops = match needed {
            Some(other) => RunFolder(&other.folder).training_flops()?,
            None => None,
        };
        let unknown = needed.map(|other| format!("<training_flops of {}>", other.planned.name));
        let flops = flops.or(unknown);
        let train = job.train_arguments(arguments, flops.as_deref());
        let evaluate = sweep
            .evaluate
            .then(|| job.evaluate_arguments(arguments, flops.as_deref()));
        let commands: Vec<String> = [Some(train), evaluate]
            .into_iter()
            .flatten()
            .map(|line| command(&line))
            .collect();
        if showing.json {
            let (name, dir) = (&job.planned.name, &job.folder);
            let state = state.replace(' ', "_").replace(',', "");
            output::json(&json!({ "name": name, "dir": dir, "state": state, "commands": commands }))?;
        } else {
            output::text(format_args!("{}: {state}", job.planned.name))?;
            for command in commands {
                output::text(format_args!("  {command}"))?;
            }
        }
    }
    Ok(())
}

/// A command line as a shell takes it.
fn command(arguments: &[OsString]) -> String {
    let quoted = |argument: &OsString| {
        let text = argument.to_string_lossy();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=+:,@%".contains(letter);
        if !text.is_empty() && text.chars().all(plain) {
            return text.into_owned();
        }
        format!("'{}'", text.replace('\'', r"'\''"))
    };
    let words = arguments.iter().map(quoted);
    iter::once("leadspan".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
