//! Whether all of a capture is there, whoever did it: what is missing, and the manifests of what is not.

use std::{collections::BTreeSet, io};

use leadspan_cache::{Cache, CacheError, Coverage, Manifest, WorkUnit, adopt};

use crate::{Pipeline, PrecomputeError, costs::unit_costs};

/// What has become of a capture.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalized {
    /// What the cache is to hold.
    pub asked: Coverage,
    /// Work units of the corpus.
    pub units: usize,
    /// The layers that hold it together.
    pub layers: Vec<FinalizedLayer>,
    /// The workers, of as many as were named, whose shares have missing units.
    pub tasks: Option<BTreeSet<usize>>,
}

/// What has become of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalizedLayer {
    /// The name of its folder.
    pub name: String,
    /// Units that nobody has captured, in order.
    pub missing: Vec<WorkUnit>,
    /// What it is, where none is missing.
    pub manifest: Option<Manifest>,
}

impl Finalized {
    /// How many units are missing, counted once for each layer.
    pub fn missing(&self) -> usize {
        self.layers.iter().map(|layer| layer.missing.len()).sum()
    }
}

/// Looks whether everything that the pipeline asks for is captured: takes up shards whose writers died before their
/// receipts, clears up, and writes the manifests of complete layers. The teacher is not needed.
///
/// With `workers`, says which of so many have units missing from their shares.
///
/// # Errors
///
/// Where there is no prepared cache, or it cannot be read or written. Missing units are no error.
pub fn finalize(pipeline: &Pipeline, workers: Option<usize>) -> Result<Finalized, PrecomputeError> {
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
    for (dir, unfinished) in cache.layers_for(&asked)? {
        let mut missing = Vec::new();
        for unit in unfinished {
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
            manifest: dir.write_manifest()?,
            missing,
        });
    }
    finalized.tasks = workers.map(|_| tasks);
    cache.remove_leftovers()?;
    Ok(finalized)
}

/// What every run ends with: where everything is there, the layers get their manifests, should nobody have written them;
/// otherwise, how many units are missing.
pub(crate) fn conclude(cache: &Cache, asked: &Coverage) -> Result<usize, PrecomputeError> {
    let mut units_missing = 0;
    for (dir, missing) in cache.layers_for(asked)? {
        units_missing += missing.len();
        if missing.is_empty() && dir.manifest()?.is_none() {
            match dir.write_manifest() {
                // A cache that one may only read is as good without.
                Err(CacheError::Io { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                    ) => {}
                written => drop(written?),
            }
        }
    }
    Ok(units_missing)
}
