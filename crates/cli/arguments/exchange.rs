//! The arguments of the commands by which caches are exchanged with other programs. The doc comments are the help.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use leadspan_distribution::codec::Precision;

use super::cache_folder::CacheFolder;

/// What an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One Parquet file with a row for each position
    File,
    /// A folder that `datasets.load_dataset` loads: the same rows, the tokens of the samples, and a description
    Dataset,
    /// A folder of rows that DistillKit trains from; tails and sections are lost
    Distillkit,
}

/// What is said of an export that is a folder.
#[derive(Args, Debug)]
pub(crate) struct ExportFolderArguments {
    /// The most rows of each file of a folder [default: 1000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) file_rows: Option<u64>,

    /// About the most MiB of each file of a folder [default: 256]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1_048_576))]
    pub(crate) file_mib: Option<u64>,

    /// The licence that the description of a folder states, such as `cc-by-4.0`; none by default
    #[arg(long, value_name = "NAME")]
    pub(crate) license: Option<String>,

    /// A file with the result of `cache audit --json`, whose figures the description of a folder states
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,

    /// The number of the teacher's tokens, for DistillKit; by default those of the tokenizer, up to the next power of two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) vocabulary: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct CardArguments {
    #[command(flatten)]
    pub(crate) folder: CacheFolder,

    /// Write the card to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Replace the file if it is an earlier card
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,

    /// The licence that the card states, such as `cc-by-4.0`; none by default
    #[arg(long, value_name = "NAME")]
    pub(crate) license: Option<String>,

    /// A file with the result of `cache audit --json`, whose figures the card states
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArguments {
    /// Parquet files of DistillKit or folders of them, or the folder of `cache export --format dataset`
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// The folder of the new cache
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// The folder with the teacher's tokenizer, which is the student's as well
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: PathBuf,

    /// The settings of packed values; by default the `compression_config.yaml` beside the files
    #[arg(long, value_name = "FILE")]
    pub(crate) compression_config: Option<PathBuf>,

    /// The number of the teacher's tokens; by default what the settings, the tokenizer's `config.json` or the tokenizer say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) vocabulary: Option<u32>,

    /// The precision of the stored values: `exact` keeps what is read, `fine` and `standard` are smaller
    #[arg(long, value_name = "NAME", default_value = "exact", value_parser = precision)]
    pub(crate) precision: Precision,
}

fn precision(name: &str) -> Result<Precision, String> {
    let all = [Precision::Exact, Precision::Fine, Precision::Standard];
    let found = all.into_iter().find(|precision| precision.as_str() == name);
    found.ok_or_else(|| "it must be `exact`, `fine` or `standard`".to_owned())
}
