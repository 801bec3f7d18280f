//! The arguments of each command but those of `leadspan cache`. The doc comments are the help.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;
use leadspan_sequence::LeadSpanProportion;

use super::stage::{PipelineArguments, Stopping, WorkerArguments};
use crate::time_span::TimeSpan;

/// Creates the folder `leadspan-quickstart` in the current folder and writes only there.
#[derive(Args, Debug)]
pub(crate) struct QuickstartArguments {
    /// Remove the files of an earlier quickstart and start over
    #[arg(long)]
    pub(crate) fresh: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PrepareArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,

    /// Hash all raw data, instead of only files whose size, times, inode or sampled blocks changed since the last run
    #[arg(long)]
    pub(crate) verify_data: bool,
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

    /// Hash all raw data, instead of only files whose size, times, inode or sampled blocks changed since the last run
    #[arg(long)]
    pub(crate) verify_data: bool,

    /// Capture lead spans of this proportion instead of `cache.lead_span_proportion`
    #[arg(long, value_name = "P")]
    pub(crate) proportion: Option<LeadSpanProportion>,

    /// Begin with what this folder of a store has (`s3://…`, as `cache push` takes it), and copy each work unit there once it is
    /// committed
    #[arg(long, value_name = "URL")]
    pub(crate) push: Option<String>,

    #[command(flatten)]
    pub(crate) stopping: Stopping,
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

    /// Train alone, even if `mpirun` or `srun` started this process as one of several, which train one student together
    #[arg(long)]
    pub(crate) alone: bool,

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

    /// Train N students at the same time, each with its share of the threads: several small students take less time so. Each needs
    /// its own memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: u16,

    /// Leave out the table at the end; the quickstart, which shows it afterwards, uses it
    #[arg(long, hide = true)]
    pub(crate) without_table: bool,

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
