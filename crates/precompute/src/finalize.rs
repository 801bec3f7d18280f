//! Completing a capture, whoever did it: finds missing work units, and writes the manifests of complete layers and the
//! inventory of the cache.

use std::{collections::BTreeSet, io};

use leadspan_cache::{Cache, CacheError, Coverage, Manifest, WorkUnit, adopt};
use leadspan_workers::Awaited;

use crate::{Pipeline, PrecomputeError, costs::unit_costs};

/// The state of a capture.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalized {
    /// What the cache should hold.
    pub asked: Coverage,
    /// Work units of the corpus.
    pub units: usize,
    /// The layers that hold this coverage together.
    pub layers: Vec<FinalizedLayer>,
    /// The workers whose shares have missing units, if the number of workers was given.
    pub tasks: Option<BTreeSet<usize>>,
}

/// The state of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalizedLayer {
    /// The name of its folder.
    pub name: String,
    /// Units that have no whole shard, in order.
    pub missing: Vec<WorkUnit>,
    /// The manifest, if no unit is missing.
    pub manifest: Option<Manifest>,
}

impl Finalized {
    /// The number of missing units, counted once for each layer.
    pub fn missing(&self) -> usize {
        self.layers.iter().map(|layer| layer.missing.len()).sum()
    }
}

/// Checks whether everything that the pipeline asks for is captured. Takes up shards whose writers died before they wrote the
/// receipts, removes leftovers, and writes the manifests of complete layers and the inventory. Does not need the teacher. A
/// receipt beside a shard that is empty, short or gone does not count.
///
/// If `workers` gives their number, also finds the workers whose shares have missing units. While it waits, it calls `waiting`
/// regularly with the process that it waits for.
///
/// # Errors
///
/// Fails if the cache does not exist, has no corpus, or cannot be read or written, and if a shard or a receipt of a complete layer is
/// not the one that belongs there. Missing units are no error.
pub fn finalize(
    pipeline: &Pipeline,
    workers: Option<usize>,
    waiting: &mut dyn FnMut(&Awaited),
) -> Result<Finalized, PrecomputeError> {
    let cache = Cache::open(&pipeline.cache_dir())?;
    let corpus = cache.require_corpus()?;
    let asked = Coverage {
        proportion: pipeline.cache.lead_span_proportion,
        sections: pipeline.cache.supervised_sections,
    };
    let mut finalized = Finalized {
        asked,
        units: corpus.units().len(),
        layers: Vec::new(),
        tasks: None,
    };
    let mut tasks = BTreeSet::new();
    for (dir, _) in cache.layers_for(&asked)? {
        let mut missing = Vec::new();
        for unit in dir.uncommitted_units()? {
            if adopt(&dir, &unit)?.is_none() {
                missing.push(unit);
            }
        }
        if let Some(workers) = workers {
            let takers = unit_costs(dir.layer(), &corpus).takers(workers.max(1));
            let places = missing
                .iter()
                .filter_map(|unit| corpus.unit_of(unit.samples.start as u32));
            tasks.extend(places.map(|unit| takers[unit]));
        }
        finalized.layers.push(FinalizedLayer {
            name: dir.layer().folder_name(),
            manifest: if missing.is_empty() {
                dir.check_committed()?;
                dir.write_manifest()?
            } else {
                None
            },
            missing,
        });
    }
    finalized.tasks = workers.map(|_| tasks);
    cache.remove_leftovers()?;
    if finalized.missing() == 0 {
        cache.take_inventory_telling(waiting)?;
    }
    Ok(finalized)
}

/// Ends a run: writes the manifests of complete layers that have none and, if every unit is here, the inventory. Returns the
/// number of units that are neither here nor elsewhere.
///
/// # Errors
///
/// If a shard or a receipt of a complete layer is not the one that belongs there, or a file cannot be read or written.
pub(crate) fn conclude(
    cache: &Cache,
    asked: &Coverage,
    waiting: &mut dyn FnMut(&Awaited),
) -> Result<usize, PrecomputeError> {
    let missing_anywhere = cache
        .layers_for(asked)?
        .into_iter()
        .map(|(_, missing)| missing.len())
        .sum();
    // What was captured anew is no longer listed.
    let cache = &Cache::open(cache.dir())?;
    let mut units_missing = 0;
    for (dir, missing) in cache.layers_for(asked)? {
        units_missing += missing.len();
        if missing.is_empty() {
            dir.check_committed()?;
        }
        if missing.is_empty() && dir.manifest()?.is_none() {
            match dir.write_manifest() {
                // A cache that is only readable is complete without a manifest.
                Err(CacheError::Io { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                    ) => {}
                written => drop(written?),
            }
        }
    }
    if units_missing == 0 {
        cache.take_inventory_telling(waiting)?;
    }
    Ok(missing_anywhere)
}
