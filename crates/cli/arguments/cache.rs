//! The commands of `leadspan cache` and their arguments. The doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use leadspan_sequence::LeadSpanProportion;

use super::{
    cache_folder::CacheFolder,
    exchange::{CardArguments, ExportFolderArguments, ExportFormat, ImportArguments},
    stage::PipelineArguments,
};
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
    /// Write the stored positions as plain Parquet, for pyarrow, DuckDB, polars, `datasets`, DistillKit and others
    Export(ExportArguments),
    /// Write a data set card: what the cache holds, as model hubs show it
    Card(CardArguments),
    /// Make a cache of what DistillKit captured, or of an export; its teacher is marked as unknown
    Import(ImportArguments),
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

    /// The Parquet file or the folder to write
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,

    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "file")]
    pub(crate) format: ExportFormat,

    #[command(flatten)]
    pub(crate) of_folder: ExportFolderArguments,

    /// Replace an earlier export
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Export lead spans of this proportion; by default the largest that is stored
    #[arg(long, value_name = "P")]
    pub(crate) proportion: Option<LeadSpanProportion>,

    /// Export an incomplete cache instead of refusing it
    #[arg(long)]
    pub(crate) allow_incomplete: bool,
}
