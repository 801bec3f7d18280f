//! `leadspan cache`: inspects, checks, describes, exports, imports, cuts, merges, pushes and pulls caches.

mod audit;
mod audited;
mod card;
mod copy;
mod cut;
mod export;
mod import;
mod inspect;
mod sample;
mod verify;
mod watch;

use std::{path::PathBuf, time::Duration};

use leadspan_cache::Cache;

use super::{Ending, Showing};
use crate::{
    arguments::{CacheCommand, CacheFolder},
    configuration::Configuration,
    failure::Result,
};

pub(super) fn run(command: &CacheCommand, showing: Showing) -> Result<Ending> {
    match command {
        CacheCommand::Audit(arguments) => audit::run(arguments, showing),
        CacheCommand::Push(arguments) => copy::push(arguments, showing),
        CacheCommand::Pull(arguments) => copy::pull(arguments, showing),
        CacheCommand::Inspect(arguments) => match (&arguments.sample, arguments.watch) {
            (_, Some(seconds)) => watch::run(&dir(&arguments.folder)?, Duration::from_secs(seconds), showing),
            (Some(id), None) => sample::run(&open(&arguments.folder)?, id, arguments.top, showing),
            (None, None) => inspect::run(&open(&arguments.folder)?, showing),
        },
        CacheCommand::Verify(arguments) => verify::run(&open(&arguments.folder)?, arguments.repair, showing),
        CacheCommand::Card(arguments) => card::run(&open(&arguments.folder)?, arguments, showing),
        CacheCommand::Import(arguments) => import::run(arguments, showing),
        CacheCommand::Export(arguments) => export::run(&open(&arguments.folder)?, arguments, showing),
        CacheCommand::Cut(arguments) => cut::run(&open(&arguments.folder)?, arguments, showing),
        CacheCommand::Merge(arguments) => cut::run_merge(arguments, showing),
    }
}

fn open(folder: &CacheFolder) -> Result<Cache> {
    Ok(Cache::open(&dir(folder)?)?)
}

fn dir(folder: &CacheFolder) -> Result<PathBuf> {
    Ok(match (&folder.dir, &folder.config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(config)) => Configuration::load(config, &[])?.cache_dir()?,
        (None, None) => unreachable!("the command line requires a folder or a pipeline file"),
    })
}
