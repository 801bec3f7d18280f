//! The commands of `leadspan cache` and their arguments. The doc comments are the help.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand};
use leadspan_sequence::LeadSpanProportion;

use super::stage::{PipelineArguments, Stopping};
use crate::keys;

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
    /// Copy a cache into a store, and do only what is missing there
    ///
    /// URL is `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `file:///FOLDER`. Credentials come from the
    /// variables and files of the store's own tools (`AWS_*` and `~/.aws`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_*`).
    Push(PushArguments),
    /// Copy a cache out of a store, and do only what is missing here
    ///
    /// URL is one that `push` takes, `hf://datasets/OWNER/NAME[@REVISION]/PATH` (with `HF_TOKEN`), or `https://HOST/PATH`. Every
    /// file is compared with its checksum before it becomes visible.
    Pull(PullArguments),
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

    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Export lead spans of this proportion; by default the largest that is stored
    #[arg(long, value_name = "P")]
    pub(crate) proportion: Option<LeadSpanProportion>,

    /// Export an incomplete cache instead of refusing it
    #[arg(long)]
    pub(crate) allow_incomplete: bool,
}

/// How a cache is copied.
#[derive(Args, Debug)]
pub(crate) struct CopyArguments {
    /// How many files to copy at a time
    #[arg(long, value_name = "N", default_value = "8")]
    pub(crate) parallel: NonZeroUsize,

    #[command(flatten)]
    pub(crate) stopping: Stopping,
}

#[derive(Args, Debug)]
pub(crate) struct PushArguments {
    /// The cache's folder
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// The folder in the store
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) copy: CopyArguments,
}

#[derive(Args, Debug)]
pub(crate) struct PullArguments {
    /// The folder in the store
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// The folder to copy the cache into: empty, missing, or with the same cache
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    #[command(flatten)]
    pub(crate) copy: CopyArguments,
}
