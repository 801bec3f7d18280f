//! What has to be captured for a cache to hold what is asked for.

use std::sync::Arc;

use leadspan_workers::{LockGuard, lock};

use super::{
    coverage::Coverage,
    folder::LayerDir,
    layer::{Band, Layer, division, remainder},
};
use crate::{Cache, CacheError, PreparedCorpus, WorkUnit};

impl Cache {
    /// Whether complete layers cover `asked`.
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

    /// The layers with missing units that have to be captured for the cache to hold `asked`; none where it does already.
    ///
    /// What no layer holds gets a new one, made here; layers that were begun are finished beside it. Processes that ask at
    /// the same time get the same answer.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnfinishedLayer`] where part of it is in a layer that was begun and reaches beyond it, so that finishing
    /// that one would capture more than is asked for; and those of [`layer`](Self::layer).
    pub fn layers_to_capture(&self, asked: &Coverage) -> Result<Vec<LayerDir>, CacheError> {
        // What is committed stays, so nobody needs to wait, or to be able to write, to find that nothing is left to do.
        if self.holds(asked)? {
            return Ok(Vec::new());
        }
        let mut dirs = self.layers()?;
        // Nor to find that there is nothing to be made: of thousands of workers, only the first few wait.
        if lacking(asked, &dirs).is_some() {
            let _lock: LockGuard = lock(self.dir(), &mut |_| {})?;
            dirs = self.layers()?;
            if let Some(layer) = lacking(asked, &dirs) {
                dirs.push(self.layer(&layer)?);
            }
        }
        let uncaptured = uncaptured(asked, &dirs)?;
        Ok(uncaptured.into_iter().map(|(index, _)| dirs[index].clone()).collect())
    }

    /// What [`layers_to_capture`](Self::layers_to_capture) would find if the cache's corpus were `corpus`, each layer with
    /// its missing units. Nothing is made or locked.
    ///
    /// # Errors
    ///
    /// Those of [`layers_to_capture`](Self::layers_to_capture) that do not come of writing.
    pub fn uncaptured(
        &self,
        asked: &Coverage,
        corpus: &PreparedCorpus,
    ) -> Result<Vec<(Layer, Vec<WorkUnit>)>, CacheError> {
        let mut dirs = self.layers_of(corpus)?;
        if let Some(layer) = lacking(asked, &dirs) {
            let identity = Arc::clone(&self.identity);
            dirs.push(LayerDir::planned(&self.layers_dir(), layer, corpus.clone(), identity));
        }
        let complete: Vec<&Layer> = dirs
            .iter()
            .filter_map(|dir| match dir.missing_units() {
                Ok(missing) => missing.is_empty().then(|| Ok(dir.layer())),
                Err(error) => Some(Err(error)),
            })
            .collect::<Result<_, _>>()?;
        if division(asked, &complete).is_some() {
            return Ok(Vec::new());
        }
        let uncaptured = uncaptured(asked, &dirs)?;
        Ok(uncaptured
            .into_iter()
            .map(|(index, units)| (dirs[index].layer().clone(), units))
            .collect())
    }

    /// The layers that hold `asked` together, or will when they are complete, each with its missing units. One that is not
    /// begun has no folder yet. Nothing is made or locked.
    ///
    /// # Errors
    ///
    /// Those of [`layers`](Self::layers).
    pub fn layers_for(&self, asked: &Coverage) -> Result<Vec<(LayerDir, Vec<WorkUnit>)>, CacheError> {
        let corpus = self.require_corpus()?;
        let mut dirs = self.layers_of(&corpus)?;
        let mut missing: Vec<Vec<WorkUnit>> = dirs.iter().map(LayerDir::missing_units).collect::<Result<_, _>>()?;
        let chosen = |dirs: &[LayerDir], usable: Vec<usize>| {
            let layers: Vec<&Layer> = usable.iter().map(|&index| dirs[index].layer()).collect();
            let parts = division(asked, &layers)?;
            Some(parts.into_iter().map(|(place, _)| usable[place]).collect::<Vec<_>>())
        };
        let complete = (0..dirs.len()).filter(|&index| missing[index].is_empty()).collect();
        let parts = chosen(&dirs, complete).unwrap_or_else(|| {
            if let Some(layer) = lacking(asked, &dirs) {
                let identity = Arc::clone(&self.identity);
                missing.push(corpus.units().to_vec());
                dirs.push(LayerDir::planned(&self.layers_dir(), layer, corpus, identity));
            }
            let all = (0..dirs.len()).collect();
            chosen(&dirs, all).expect("the layers and what they lack cover it")
        });
        let of = |index: usize| (dirs[index].clone(), missing[index].clone());
        Ok(parts.into_iter().map(of).collect())
    }
}

/// The layer that is missing for `dirs` to cover `asked`.
fn lacking(asked: &Coverage, dirs: &[LayerDir]) -> Option<Layer> {
    let begun: Vec<&Layer> = dirs.iter().map(LayerDir::layer).collect();
    remainder(asked, &begun)
}

/// Which of `dirs`, which cover `asked` together, have missing units that belong to it, and those units.
///
/// # Errors
///
/// [`CacheError::UnfinishedLayer`] where one of them reaches beyond it.
fn uncaptured(asked: &Coverage, dirs: &[LayerDir]) -> Result<Vec<(usize, Vec<WorkUnit>)>, CacheError> {
    let layers: Vec<&Layer> = dirs.iter().map(LayerDir::layer).collect();
    let parts = division(asked, &layers).expect("the layers and what they lack cover it");
    let mut unfinished = Vec::new();
    for (index, _) in parts {
        let missing = dirs[index].missing_units()?;
        if !missing.is_empty() {
            unfinished.push((index, missing));
        }
    }
    let is_within = |layer: &Layer| {
        let within = |band: &Band| asked.sections.contains(band.section) && band.up_to <= asked.proportion;
        layer.bands().iter().all(within)
    };
    match unfinished.iter().find(|(index, _)| !is_within(layers[*index])) {
        Some((index, missing)) => Err(CacheError::UnfinishedLayer {
            asked: *asked,
            unfinished: Box::new(dirs[*index].incomplete(missing)),
        }),
        None => Ok(unfinished),
    }
}
