//! What can be written on the command line. The doc comments are the help.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use leadspan_sequence::LeadSpanProportion;
use leadspan_workers::Worker;
use tracing::level_filters::LevelFilter;

use crate::{keys, overrides::Override, time_span::TimeSpan};

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

    /// How much to say on standard error
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
    Prepare(PipelineArguments),
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
    /// Inspect, check or export a cache
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
            Self::Quickstart(_)
            | Self::Plan(_)
            | Self::Report(_)
            | Self::Config(_)
            | Self::Cache(CacheCommand::Inspect(_)) => None,
        }
    }
}

/// Creates the folder `leadspan-quickstart` in the current folder and writes only there.
#[derive(Args, Debug)]
pub(crate) struct QuickstartArguments {
    /// Remove the files of an earlier quickstart and start over
    #[arg(long)]
    pub(crate) fresh: bool,
}

/// The pipeline file and what is set over it.
#[derive(Args, Debug)]
pub(crate) struct PipelineArguments {
    /// The pipeline file
    #[arg(short, long = "config", value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Set one key of the pipeline file for this run, such as `train.learning_rate=1e-5`; can be repeated
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE", value_parser = Override::parse)]
    pub(crate) overrides: Vec<Override>,
}

/// When to stop, and how.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Stopping {
    /// Stop, as on SIGTERM, when the program has run for this long, such as `55m` or `1h 50m`
    #[arg(long, value_name = "TIME")]
    pub(crate) stop_after: Option<TimeSpan>,

    /// How long a stop may take; work that is unfinished by then, such as a checkpoint, is dropped [default: 8s]
    #[arg(long, value_name = "TIME")]
    pub(crate) grace: Option<TimeSpan>,
}

#[derive(Args, Debug)]
pub(crate) struct PrecomputeArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,

    #[command(flatten)]
    pub(crate) workers: WorkerArguments,

    /// Claim work units one by one: first those of its own share, then those of other workers, dead ones included
    #[arg(long)]
    pub(crate) claim: bool,

    /// How long a claim stays valid after its last renewal if its worker dies or hangs
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "claim")]
    pub(crate) lease: TimeSpan,

    /// Run nothing: check that every work unit is stored and write the manifests, or list missing units (exit code 1)
    #[arg(long, conflicts_with_all = ["claim", "worker", "verify_data"])]
    pub(crate) finalize: bool,

    /// Hash all raw data, instead of only files whose size, modification time or inode changed since the last run
    #[arg(long)]
    pub(crate) verify_data: bool,

    /// Capture lead spans of this proportion instead of `cache.lead_span_proportion`
    #[arg(long, value_name = "P")]
    pub(crate) proportion: Option<LeadSpanProportion>,

    #[command(flatten)]
    pub(crate) stopping: Stopping,
}

/// Which of several processes this is.
#[derive(Args, Debug)]
pub(crate) struct WorkerArguments {
    /// Be worker I of N, counted from 0; by default as the batch scheduler says, or the only worker
    #[arg(long, value_name = "I/N")]
    pub(crate) worker: Option<Worker>,

    /// The number of workers, if the scheduler does not know it or runs only some tasks; I is then the id of the task
    #[arg(long, value_name = "N", conflicts_with = "worker")]
    pub(crate) workers: Option<NonZeroUsize>,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,

    /// Plan for lead spans of this proportion instead of `cache.lead_span_proportion`
    #[arg(long, value_name = "P")]
    pub(crate) proportion: Option<LeadSpanProportion>,

    /// Compute how many workers of an array job finish within this time, such as `2h`, `90min` or `1d 12h`
    #[arg(long, value_name = "TIME", conflicts_with = "no_calibration")]
    pub(crate) wall_time: Option<TimeSpan>,

    /// How long to run the teacher on a few batches, once it is loaded
    #[arg(long, value_name = "TIME", default_value = "10s", conflicts_with = "no_calibration")]
    pub(crate) calibration: TimeSpan,

    /// Do not run the teacher: predicts no times, and takes bytes from the cache's shards or from published figures
    #[arg(long)]
    pub(crate) no_calibration: bool,

    /// How many rows to sample if the corpus is not prepared yet
    #[arg(long, value_name = "N", default_value = "2000")]
    pub(crate) sample_rows: NonZeroUsize,
}

#[derive(Args, Debug)]
pub(crate) struct TrainArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,

    /// Train on an incomplete cache instead of refusing it
    #[arg(long)]
    pub(crate) allow_incomplete: bool,

    #[command(flatten)]
    pub(crate) stopping: Stopping,
}

#[derive(Args, Debug)]
pub(crate) struct EvaluateArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,

    /// Evaluate this model instead of `evaluate.model`: a directory, FILE.gguf or id of a Hub model
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) stopping: Stopping,
}

#[derive(Args, Debug)]
pub(crate) struct SweepArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,

    #[command(flatten)]
    pub(crate) workers: WorkerArguments,

    /// List the runs with their state and commands, and run nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Train on an incomplete cache instead of refusing it
    #[arg(long)]
    pub(crate) allow_incomplete: bool,

    #[command(flatten)]
    pub(crate) stopping: Stopping,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArguments {
    /// The folders of runs (`train.dir`), or folders of such folders
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,

    /// The folder to write `index.html` and `runs.csv` into
    #[arg(long, value_name = "DIR", default_value = "report")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ConfigArguments {
    /// Print the JSON schema of the pipeline file instead, by which editors complete and check it
    #[arg(long)]
    pub(crate) schema: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show what a cache holds, or with `--sample` the teacher's distributions of one sample
    Inspect(InspectArguments),
    /// Check every file of a cache against its checksums and against the corpus
    Verify(VerifyArguments),
    /// Run the teacher again at random positions and compare its distributions with the cache
    #[command(after_long_help = keys::help(&["teacher", "cache"]))]
    Audit(AuditArguments),
    /// Write the stored positions as plain Parquet, for pyarrow, DuckDB, polars and others
    Export(ExportArguments),
}

/// Which cache.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct CacheFolder {
    /// The cache's folder
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// The pipeline file that names the cache
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    #[command(flatten)]
    pub(crate) folder: CacheFolder,

    /// Print this sample as text: each position with its target and the teacher's most probable tokens
    #[arg(long, value_name = "ID")]
    pub(crate) sample: Option<String>,

    /// How many tokens to print for each position
    #[arg(long, value_name = "N", default_value_t = 5, requires = "sample")]
    pub(crate) top: usize,

    /// Show the workers and their progress every SECONDS seconds until the cache is complete
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", conflicts_with = "sample",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) watch: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct AuditArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,

    /// How many positions to compare, up to 64 of a sample
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub(crate) positions: usize,

    /// The seed by which positions are chosen
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) folder: CacheFolder,

    /// Delete damaged shards, so that `precompute` does those work units again
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    pub(crate) folder: CacheFolder,

    /// The Parquet file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Export lead spans of this proportion; by default the largest that is stored
    #[arg(long, value_name = "P")]
    pub(crate) proportion: Option<LeadSpanProportion>,

    /// Export an incomplete cache instead of refusing it
    #[arg(long)]
    pub(crate) allow_incomplete: bool,
}

/// How much to log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// How to show progress.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// Log lines, for the log file of a scheduler
    Lines,
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
