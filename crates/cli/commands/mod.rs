//! One module per command. It reads the settings, calls the libraries and shows the result.

mod cache;
mod config;
mod evaluate;
mod finalize;
mod plan;
mod precompute;
mod prepare;
mod quickstart;
mod report;
mod sweep;
mod train;

use std::{fmt, path::Path};

use leadspan_cache::Missing;
use leadspan_train::HeldOut;
use leadspan_workers::Holder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    arguments::{Arguments, Command, LogLevel, ProgressStyle},
    ending::Ending,
    failure::Result,
    output::{self, OutputError},
    path_text, signals,
};

/// How results and progress are shown.
#[derive(Clone, Copy, Debug)]
struct Showing {
    json: bool,
    progress: ProgressStyle,
    /// The log level of child processes.
    log_level: LogLevel,
}

impl Showing {
    /// Writes the result of a command, as JSON or as text.
    fn result(self, result: &(impl Serialize + fmt::Display)) -> Result<(), OutputError> {
        if self.json {
            output::json(result)
        } else {
            output::text(result)
        }
    }

    /// Writes what a command that was stopped has to say. If that cannot be written, the log says so: the command is to be run
    /// again in any case, and its exit code must say that.
    fn result_of_stopped(self, result: &(impl Serialize + fmt::Display)) {
        if let Err(error) = self.result(result) {
            tracing::warn!("{error}");
        }
    }
}

/// The values of some keys of a result, for the closing line of the log.
fn noted(result: &impl Serialize, keys: &[&str]) -> Value {
    let mut values = serde_json::to_value(result).expect("a result has text keys");
    if let Some(values) = values.as_object_mut() {
        values.retain(|key, _| keys.contains(&key.as_str()));
    }
    values
}

/// The process that this one has waited for, so that each is named once.
#[derive(Default)]
struct Waited(Option<Holder>);

impl Waited {
    /// Says that this process waits for another one that may work in its folder.
    fn show(&mut self, holder: &Holder) {
        if self.0.as_ref() != Some(holder) {
            tracing::info!("waiting for {holder}, which works in this folder or died in it (`.claims/run`)");
            self.0 = Some(holder.clone());
        }
    }
}

/// Ends a command that was stopped, and that continues in `dir` when it is run again.
fn stopped(dir: &Path, showing: Showing) -> Ending {
    if showing.json
        && let Err(error) = output::json(&json!({ "outcome": "stopped", "dir": path_text::text(dir) }))
    {
        tracing::warn!("{error}");
    }
    tracing::warn!("{}: run the same command again", signals::stopped());
    Ending::Stopped
}

/// `--allow-incomplete` as the libraries take it.
fn missing(allow_incomplete: bool) -> Missing {
    if allow_incomplete {
        Missing::Allowed
    } else {
        Missing::Refused
    }
}

/// Held-out losses in one line.
fn losses(held_out: &HeldOut) -> String {
    let forward_kl = held_out.forward_kl.map(|loss| format!("forward KL {loss:.4}, "));
    let agreement = held_out
        .top_1_agreement
        .map(|share| format!(", top-1 agreement {:.1} %", 100.0 * share));
    format!(
        "{}cross-entropy {:.4}{}",
        forward_kl.unwrap_or_default(),
        held_out.cross_entropy,
        agreement.unwrap_or_default()
    )
}

/// Runs the command.
///
/// # Errors
///
/// The failure of the command, with what was attempted.
pub(crate) fn run(arguments: Arguments) -> Result<Ending> {
    let showing = Showing {
        json: arguments.json,
        progress: arguments.progress,
        log_level: arguments.log_level,
    };
    match arguments.command {
        Command::Quickstart(quickstart) => quickstart::run(&quickstart, showing),
        Command::Prepare(prepare) => prepare::run(&prepare, showing),
        Command::Plan(plan) => plan::run(&plan, showing),
        Command::Precompute(precompute) => precompute::run(&precompute, showing),
        Command::Train(pipeline) => train::run(&pipeline, showing),
        Command::Evaluate(evaluate) => evaluate::run(&evaluate, showing),
        Command::Sweep(sweep) => sweep::run(&sweep, showing),
        Command::Report(report) => report::run(&report, showing),
        Command::Config(config) => config::run(&config, showing),
        Command::Cache(command) => cache::run(&command, showing),
    }
}
