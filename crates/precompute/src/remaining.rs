//! What is left to do: which work units this worker still has to capture, and how much they hold.

use leadspan_cache::{Cache, Coverage, Layer, LayerDir, PreparedCorpus, WorkUnit};

use crate::{PrecomputeError, Worker, batches::spans_of};

/// What a worker still has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// What the cache is to hold in the end.
    pub asked: Coverage,
    /// The layers that have to be captured for that; none where complete ones cover it already.
    pub layers: Vec<Layer>,
    /// Which units are this worker's.
    pub worker: Worker,
    /// Work units of all workers.
    pub units_total: usize,
    /// Work units of this worker, counted once for each layer.
    pub units_mine: usize,
    /// Those of them whose shards are there.
    pub units_skipped: usize,
    /// Tokens of the others that go through the model.
    pub tokens: u64,
    /// Positions of the others that will be stored.
    pub positions: u64,
}

/// One work unit and how much there is to do for it.
#[derive(Clone, Debug)]
pub(crate) struct UnitWork {
    pub(crate) unit: WorkUnit,
    pub(crate) tokens: u64,
    pub(crate) positions: u64,
}

impl UnitWork {
    fn of(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit) -> Self {
        let spans = spans_of(layer, corpus, unit);
        Self {
            unit: unit.clone(),
            tokens: spans.iter().map(|span| u64::from(span.tokens)).sum(),
            positions: spans.iter().map(|span| u64::from(span.positions)).sum(),
        }
    }
}

/// Tokens that go through the teacher for a work unit of `layer`.
pub fn unit_tokens(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit) -> u64 {
    UnitWork::of(layer, corpus, unit).tokens
}

/// A layer, and its units that are to be done, in order.
pub(crate) struct LayerWork {
    pub(crate) dir: LayerDir,
    pub(crate) units: Vec<UnitWork>,
}

/// What is left, in numbers and layer by layer.
pub(crate) fn remaining(
    cache: &Cache,
    asked: Coverage,
    worker: Worker,
) -> Result<(Remaining, Vec<LayerWork>), PrecomputeError> {
    let corpus = cache.require_corpus()?;
    let takes = |unit: &WorkUnit| {
        let number = corpus.unit_of(unit.samples.start as u32);
        number.is_some_and(|number| worker.takes(number))
    };
    let mut works = Vec::new();
    for dir in cache.layers_to_capture(&asked)? {
        let missing = dir.missing_units()?;
        let mine = missing.iter().filter(|unit| takes(unit));
        let units = mine.map(|unit| UnitWork::of(dir.layer(), &corpus, unit)).collect();
        works.push(LayerWork { dir, units });
    }
    let left = || works.iter().flat_map(|work| &work.units);
    let units_mine = corpus.units().iter().filter(|unit| takes(unit)).count() * works.len().max(1);
    let remaining = Remaining {
        asked,
        layers: works.iter().map(|work| work.dir.layer().clone()).collect(),
        worker,
        units_total: corpus.units().len(),
        units_mine,
        units_skipped: units_mine - left().count(),
        tokens: left().map(|work| work.tokens).sum(),
        positions: left().map(|work| work.positions).sum(),
    };
    Ok((remaining, works))
}
