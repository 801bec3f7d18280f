//! The commands of `leadspan cache` and their arguments. The doc comments are the help.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand};
use leadspan_sequence::{LeadSpanProportion, Section};

use super::{
    cache_folder::CacheFolder,
    exchange::{CardArguments, ExportFolderArguments, ExportFormat, ImportArguments},
    stage::{PipelineArguments, Stopping},
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
    /// Make a smaller cache from a larger one, by copying: of a shorter proportion, fewer sections, samples or entries
    Cut(CutArguments),
    /// Make one cache from several with different samples, by copying
    Merge(MergeArguments),
    /// Write a data set card: what the cache holds, as model hubs show it
    Card(CardArguments),
    /// Make a cache of what DistillKit captured, or of an export; its teacher is marked as unknown
    Import(ImportArguments),
    /// Copy a cache into a store, and do only what is missing there
    ///
    /// URL is `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `file:///FOLDER`. Credentials come from the
    /// variables and files of the store's own tools (`AWS_*` and `~/.aws`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_*`).
    Push(PushArguments),
    /// Copy a cache out of a store, and do only what is missing here
    ///
    /// URL is one that `push` takes, `hf://datasets/OWNER/NAME[@REVISION]/PATH` (with `HF_TOKEN`), or `https://HOST/PATH`. Every
    /// file is compared with its checksum before it becomes visible.
    ///
    /// With `--proportion`, `--sections`, `--samples` or `--top-k` it makes the cache that `cut` would make of it, and fetches
    /// only the blocks that this takes.
    Pull(PullArguments),
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

/// Values stay the same to the bit, except that fewer entries leave a larger tail. The result can be verified, trained from and
/// extended like the cache it was cut from.
#[derive(Args, Debug)]
pub(crate) struct CutArguments {
    #[command(flatten)]
    pub(crate) folder: CacheFolder,

    /// The folder of the new cache; the same command goes on with what it has begun there
    #[arg(long, value_name = "DIR2")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) keep: KeepArguments,
}

/// What is kept of a cache.
#[derive(Args, Debug)]
pub(crate) struct KeepArguments {
    /// Keep lead spans of this proportion; by default as much as is stored of each section
    #[arg(long, value_name = "P")]
    pub(crate) proportion: Option<LeadSpanProportion>,

    /// Keep these sections, such as `chain_of_thought,answer`; by default all that are stored
    #[arg(long, value_name = "SECTIONS", value_delimiter = ',')]
    pub(crate) sections: Option<Vec<Section>>,

    /// Keep the samples, of both splits, whose ids this file has, one on a line
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,

    /// Keep this many entries of each position, the most probable ones; the others move to the tail
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top_k: Option<u32>,
}

impl KeepArguments {
    /// Whether everything is kept.
    pub(crate) fn is_all(&self) -> bool {
        self.proportion.is_none() && self.sections.is_none() && self.samples.is_none() && self.top_k.is_none()
    }
}

/// The caches were made by the same teacher with the same settings, and hold the same layers of different samples.
#[derive(Args, Debug)]
pub(crate) struct MergeArguments {
    /// The folders of the caches, at least two
    #[arg(value_name = "DIR", required = true, num_args = 2..)]
    pub(crate) dirs: Vec<PathBuf>,

    /// The folder of the new cache; the same command goes on with what it has begun there
    #[arg(long, value_name = "DIR2")]
    pub(crate) out: PathBuf,
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
    pub(crate) keep: KeepArguments,

    #[command(flatten)]
    pub(crate) copy: CopyArguments,
}
