//! One module per command: settings in, libraries called, result out.

mod cache;
mod plan;
mod precompute;
mod prepare;
mod report;
mod train;

pub(crate) use plan::PlanRefusal;

use leadspan_cache::Missing;

use crate::arguments::{Arguments, Command, ProgressStyle};

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
}

/// What `--allow-incomplete` means to the libraries.
fn missing(allow_incomplete: bool) -> Missing {
    if allow_incomplete {
        Missing::Allowed
    } else {
        Missing::Refused
    }
}

/// Runs the command.
///
/// # Errors
///
/// Whatever stops it, with what was attempted.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Ending> {
    let showing = Showing {
        json: arguments.json,
        progress: arguments.progress,
    };
    match arguments.command {
        Command::Prepare(pipeline) => prepare::run(&pipeline, showing),
        Command::Plan(plan) => plan::run(&plan, showing),
        Command::Precompute(precompute) => precompute::run(&precompute, showing),
        Command::Train(pipeline) => train::run(&pipeline, showing),
        Command::Report(report) => report::run(&report, showing),
        Command::Cache(command) => cache::run(&command, showing),
    }
}
