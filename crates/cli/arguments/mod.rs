//! The command line. The doc comments are the help.

mod cache;
mod cache_folder;
mod commands;
mod exchange;
mod showing;
mod stage;

use clap::{Parser, Subcommand};

pub(crate) use self::{
    cache::{
        AuditArguments, CacheCommand, CopyArguments, CutArguments, ExportArguments, KeepArguments, MergeArguments,
        PullArguments, PushArguments,
    },
    cache_folder::CacheFolder,
    commands::{
        ConfigArguments, EvaluateArguments, PlanArguments, PrecomputeArguments, PrepareArguments, QuickstartArguments,
        ReportArguments, SweepArguments, TrainArguments,
    },
    exchange::{CardArguments, ExportFormat, ImportArguments},
    showing::{LogLevel, ProgressStyle},
    stage::{Stopping, WorkerArguments},
};
use crate::keys;

/// Distil the reasoning of a large language model into a small one, offline and on the leading span of every sequence.
///
/// Stage one (`precompute`) runs the teacher once and stores what it says about the kept tokens; stage two (`train`)
/// teaches a student from that cache alone. One file, the pipeline file, describes both; `--help` of a command lists
/// the keys it reads.
///
/// Exit codes: 0 done (also when nothing was left to do), 1 the input or the configuration is wrong, 2 unexpected
/// failure, 75 stopped by a signal or `--stop-after`: run the same command again.
#[derive(Debug, Parser)]
#[command(name = "leadspan", version, max_term_width = 110, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print the result as one JSON object
    #[arg(long, global = true, display_order = 100)]
    pub(crate) json: bool,

    /// How much to log on standard error
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        display_order = 101
    )]
    pub(crate) log_level: LogLevel,

    /// How to show progress on standard error
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        display_order = 102
    )]
    pub(crate) progress: ProgressStyle,

    /// Stop, as on SIGTERM, when standard input ends; commands that run others use it
    #[arg(long, global = true, hide = true)]
    pub(crate) stop_at_end_of_input: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try every step in a few minutes, with a model family and problems that come with the program
    Quickstart(QuickstartArguments),
    /// Prepare the corpus in the cache: tokenize, find sections, split and order
    #[command(after_long_help = keys::help(&["teacher", "data", "sections", "cache", "replay"]))]
    Prepare(PrepareArguments),
    /// Predict what `precompute` takes before it runs: tokens, positions, bytes, operations, time
    #[command(after_long_help = keys::help(&["teacher", "data", "sections", "cache"]))]
    Plan(PlanArguments),
    /// Run the teacher once and store its distributions; prepares first if needed, and does only what is missing
    #[command(after_long_help = keys::help(&["teacher", "data", "sections", "cache", "replay"]))]
    Precompute(PrecomputeArguments),
    /// Train a student from the cache and export it
    #[command(after_long_help = keys::help(&["cache", "student", "train", "replay"]))]
    Train(TrainArguments),
    /// Let a model answer problems, grade the answers, and measure its held-out losses
    #[command(after_long_help = keys::help(&["evaluate", "sections", "cache", "train"]))]
    Evaluate(EvaluateArguments),
    /// Train and evaluate many students from one cache: every combination of the values in `[sweep]`, and baselines
    ///
    /// `[sweep]` has a list of values for each key that varies. Keys of `[train]` go by their names, such as `seed = [0, 1, 2]`;
    /// others include their table, such as `"replay.share" = [0.0, 0.25]`. Finished runs are skipped, and unfinished runs
    /// continue.
    #[command(after_long_help = keys::help(&["sweep", "cache", "student", "train", "replay", "evaluate"]))]
    Sweep(SweepArguments),
    /// Compare runs on one page and in one table: quality against proportion, time, memory and operations
    Report(ReportArguments),
    /// Show every key of the pipeline file with its type, its default and what it means
    Config(ConfigArguments),
    /// Inspect, check, export, import, cut, merge, push or pull caches
    #[command(subcommand)]
    Cache(CacheCommand),
}

impl Command {
    /// The name of a command that may take long, whose log has a last line.
    pub(crate) fn of_long(&self) -> Option<&'static str> {
        match self {
            Self::Prepare(_) => Some("prepare"),
            Self::Precompute(_) => Some("precompute"),
            Self::Train(_) => Some("train"),
            Self::Evaluate(_) => Some("evaluate"),
            Self::Sweep(_) => Some("sweep"),
            Self::Cache(CacheCommand::Audit(_)) => Some("audit"),
            Self::Cache(CacheCommand::Verify(_)) => Some("verify"),
            Self::Cache(CacheCommand::Export(_)) => Some("export"),
            Self::Cache(CacheCommand::Cut(_)) => Some("cut"),
            Self::Cache(CacheCommand::Merge(_)) => Some("merge"),
            Self::Cache(CacheCommand::Import(_)) => Some("import"),
            Self::Cache(CacheCommand::Push(_)) => Some("push"),
            Self::Cache(CacheCommand::Pull(_)) => Some("pull"),
            Self::Quickstart(_)
            | Self::Plan(_)
            | Self::Report(_)
            | Self::Config(_)
            | Self::Cache(CacheCommand::Inspect(_) | CacheCommand::Card(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
