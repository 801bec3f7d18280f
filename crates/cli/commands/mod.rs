//! One module per command: settings in, libraries called, result out.

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

use leadspan_cache::Missing;
use leadspan_train::HeldOut;

use crate::{
    arguments::{Arguments, Command, LogLevel, ProgressStyle},
    failure::Result,
};

/// How a command ended, if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything asked for is done.
    Done,
    /// A signal came first.
    Stopped,
}

/// How results and progress are shown.
#[derive(Clone, Copy, Debug)]
struct Showing {
    json: bool,
    progress: ProgressStyle,
    /// What children are told.
    log_level: LogLevel,
}

/// What `--allow-incomplete` means to the libraries.
fn missing(allow_incomplete: bool) -> Missing {
    if allow_incomplete {
        Missing::Allowed
    } else {
        Missing::Refused
    }
}

/// Held-out losses in a few words.
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
/// Whatever stops it, with what was attempted.
pub(crate) fn run(arguments: Arguments) -> Result<Ending> {
    let showing = Showing {
        json: arguments.json,
        progress: arguments.progress,
        log_level: arguments.log_level,
    };
    match arguments.command {
        Command::Quickstart(quickstart) => quickstart::run(&quickstart, showing),
        Command::Prepare(pipeline) => prepare::run(&pipeline, showing),
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
