//! Finding what has to be captured before a cache holds what is asked for.

use leadspan_workers::{Awaited, LockGuard, Purpose, lock};

use super::{
    coverage::Coverage,
    folder::LayerDir,
    layer::{Band, Layer, division, remainder},
};
use crate::{Cache, CacheError, PreparedCorpus, WorkUnit};

impl Cache {
    /// Whether complete layers hold `asked`.
    fn holds(&self, asked: &Coverage) -> Result<bool, CacheError> {
        let mut complete = Vec::new();
        for dir in self.layers()? {
            if dir.missing_units()?.is_empty() {
                complete.push(dir);
            }
        }
        let complete: Vec<&Layer> = complete.iter().map(LayerDir::layer).collect();
        Ok(division(asked, &complete).is_some())
    }

    /// The layers whose missing units have to be captured before the cache holds `asked`; none if it holds it already.
    ///
    /// Creates a new layer for what no layer holds. Layers that were started are finished beside it. Processes that
    /// call this at the same time get the same layers.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnfinishedLayer`] if part of `asked` is in an unfinished layer that reaches further, so that
    /// finishing it would capture more than is asked for; and those of [`layer`](Self::layer).
    pub fn layers_to_capture(&self, asked: &Coverage) -> Result<Vec<LayerDir>, CacheError> {
        self.layers_to_capture_telling(asked, &mut |_| {})
    }

    /// Like [`layers_to_capture`](Self::layers_to_capture). While it waits, it calls `waiting` regularly with the process
    /// that it waits for.
    ///
    /// # Errors
    ///
    /// Those of [`layers_to_capture`](Self::layers_to_capture).
    pub fn layers_to_capture_telling(
        &self,
        asked: &Coverage,
        waiting: &mut dyn FnMut(&Awaited),
    ) -> Result<Vec<LayerDir>, CacheError> {
        // Committed units stay, so a process need not take the lock, or be able to write, to find that nothing is left
        // to do.
        if self.holds(asked)? {
            return Ok(Vec::new());
        }
        let mut dirs = self.layers()?;
        // The lock is only needed to create a layer. Of thousands of workers, only the first few wait for it.
        if lacking(asked, &dirs).is_some() {
            let _lock: LockGuard = lock(self.dir(), Purpose::AddingALayer, waiting)?;
            dirs = self.layers()?;
            if let Some(layer) = lacking(asked, &dirs) {
                dirs.push(self.layer(&layer)?);
            }
        }
        let uncaptured = uncaptured(asked, &dirs)?;
        Ok(uncaptured.into_iter().map(|(index, _)| dirs[index].clone()).collect())
    }

    /// The layers that have to be captured before the cache holds `asked` if its corpus were `corpus`, each with the units that
    /// are not [committed](LayerDir::is_committed). Creates and locks nothing, and reads all receipts.
    ///
    /// # Errors
    ///
    /// Those of [`layers_to_capture`](Self::layers_to_capture), except those of writing.
    pub fn uncaptured(
        &self,
        asked: &Coverage,
        corpus: &PreparedCorpus,
    ) -> Result<Vec<(Layer, Vec<WorkUnit>)>, CacheError> {
        let layers = self.layers_for_corpus(asked, corpus)?;
        let unfinished = layers.iter().filter(|(_, missing)| !missing.is_empty());
        require_within(asked, unfinished.map(|(dir, missing)| (dir, missing.as_slice())))?;
        let mut left = Vec::new();
        for (dir, _) in layers {
            // A receipt beside a shard that is empty or short is no committed unit.
            let units = dir.uncommitted_units()?;
            if !units.is_empty() {
                left.push((dir.layer().clone(), units));
            }
        }
        Ok(left)
    }

    /// The layers that together hold `asked`, or will hold it when they are complete, each with its missing units. A
    /// layer that has not been started has no folder yet. Creates and locks nothing.
    ///
    /// # Errors
    ///
    /// Those of [`layers`](Self::layers).
    pub fn layers_for(&self, asked: &Coverage) -> Result<Vec<(LayerDir, Vec<WorkUnit>)>, CacheError> {
        self.layers_for_corpus(asked, &self.require_corpus()?)
    }

    fn layers_for_corpus(
        &self,
        asked: &Coverage,
        corpus: &PreparedCorpus,
    ) -> Result<Vec<(LayerDir, Vec<WorkUnit>)>, CacheError> {
        let mut dirs = self.layers_of(corpus)?;
        let mut missing: Vec<Vec<WorkUnit>> = dirs.iter().map(LayerDir::missing_units).collect::<Result<_, _>>()?;
        let chosen = |dirs: &[LayerDir], usable: Vec<usize>| {
            let layers: Vec<&Layer> = usable.iter().map(|&index| dirs[index].layer()).collect();
            let used = division(asked, &layers)?;
            Some(used.into_iter().map(|(place, _)| usable[place]).collect::<Vec<_>>())
        };
        let complete = (0..dirs.len()).filter(|&index| missing[index].is_empty()).collect();
        let used = chosen(&dirs, complete).unwrap_or_else(|| {
            if let Some(layer) = lacking(asked, &dirs) {
                missing.push(corpus.units().to_vec());
                dirs.push(self.planned_layer(layer, corpus.clone()));
            }
            let all = (0..dirs.len()).collect();
            chosen(&dirs, all).expect("the layers with the missing one cover it")
        });
        let of = |index: usize| (dirs[index].clone(), missing[index].clone());
        Ok(used.into_iter().map(of).collect())
    }
}

/// The layer that `dirs` lack to cover `asked`; `None` if they cover it.
fn lacking(asked: &Coverage, dirs: &[LayerDir]) -> Option<Layer> {
    let begun: Vec<&Layer> = dirs.iter().map(LayerDir::layer).collect();
    remainder(asked, &begun)
}

/// The indices of those layers that hold parts of `asked` and have missing units, each with these units. `dirs` cover
/// `asked`.
///
/// # Errors
///
/// [`CacheError::UnfinishedLayer`] if one of them reaches further than `asked`.
fn uncaptured(asked: &Coverage, dirs: &[LayerDir]) -> Result<Vec<(usize, Vec<WorkUnit>)>, CacheError> {
    let layers: Vec<&Layer> = dirs.iter().map(LayerDir::layer).collect();
    let used = division(asked, &layers).expect("the layers with the missing one cover it");
    let mut unfinished = Vec::new();
    for (index, _) in used {
        let missing = dirs[index].missing_units()?;
        if !missing.is_empty() {
            unfinished.push((index, missing));
        }
    }
    let dirs = unfinished
        .iter()
        .map(|(index, missing)| (&dirs[*index], missing.as_slice()));
    require_within(asked, dirs)?;
    Ok(unfinished)
}

/// Refuses unfinished layers that reach further than `asked`. Each comes with its missing units.
fn require_within<'a>(
    asked: &Coverage,
    unfinished: impl Iterator<Item = (&'a LayerDir, &'a [WorkUnit])>,
) -> Result<(), CacheError> {
    let is_within = |layer: &Layer| {
        let within = |band: &Band| asked.sections.contains(band.section) && band.up_to <= asked.proportion;
        layer.bands().iter().all(within)
    };
    let mut further = unfinished.filter(|(dir, _)| !is_within(dir.layer()));
    match further.next() {
        Some((dir, missing)) => Err(CacheError::UnfinishedLayer {
            asked: *asked,
            unfinished: Box::new(dir.incomplete(missing)),
        }),
        None => Ok(()),
    }
}
