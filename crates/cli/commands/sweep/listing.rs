//! `leadspan sweep --dry-run`: lists the runs with their states and commands.

use std::{ffi::OsString, fmt, iter, path::Path};

use serde::Serialize;

use super::{
    as_word,
    folder::RunFolder,
    jobs::{Job, Sweep},
};
use crate::{arguments::SweepArguments, commands::Showing, failure::Result, path_text};

/// Lists the runs at the places `mine`, each with its state and its commands.
pub(super) fn show(sweep: &Sweep, mine: &[usize], arguments: &SweepArguments, showing: Showing) -> Result<()> {
    for &place in mine {
        showing.result(&ListedRun::new(sweep, &sweep.jobs[place], arguments)?)?;
    }
    Ok(())
}

/// A run that was planned.
#[derive(Serialize)]
struct ListedRun<'a> {
    name: &'a str,
    #[serde(serialize_with = "path_text::as_text")]
    dir: &'a Path,
    #[serde(serialize_with = "as_word")]
    state: &'static str,
    commands: Vec<String>,
}

impl<'a> ListedRun<'a> {
    fn new(sweep: &'a Sweep, job: &'a Job, arguments: &SweepArguments) -> Result<Self> {
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
        let lines = [Some(train), evaluate].into_iter().flatten();
        Ok(Self {
            name: &job.planned.name,
            dir: &job.folder,
            state: RunFolder(&job.folder).state(sweep.evaluate).name(),
            commands: lines.map(|line| command(&line)).collect(),
        })
    }
}

impl fmt::Display for ListedRun<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.state)?;
        for command in &self.commands {
            write!(formatter, "\n  {command}")?;
        }
        Ok(())
    }
}

/// A command line, quoted for a shell.
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
