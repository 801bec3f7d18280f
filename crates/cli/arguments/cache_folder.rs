//! Which cache a command is about.

use std::path::PathBuf;

use clap::Args;

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
