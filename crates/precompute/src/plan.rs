//! What is left to do: which work units this worker still has to capture, and how much they hold.

use leadspan_cache::{Cache, Coverage, Layer, LayerDir, PreparedCorpus, WorkUnit};

use crate::{PrecomputeError, Worker, batches::spans_of};

/// What a run is about to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the cache is to hold in the end.
    pub asked: Coverage,
    /// The layer that has to be captured for that; `None` where complete layers cover it already.
    pub layer: Option<Layer>,
    /// Which units are this worker's.
    pub worker: Worker,
    /// Work units of all workers.
    pub units_total: usize,
    /// Work units of this worker.
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

/// The plan, the layer it fills where there is one to fill, and the units that are to be done, in order.
pub(crate) fn plan(
    cache: &Cache,
    asked: Coverage,
    worker: Worker,
) -> Result<(Plan, Option<LayerDir>, Vec<UnitWork>), PrecomputeError> {
    let corpus = cache.require_corpus()?;
    let dir = cache.layer_to_capture(&asked)?;
    let takes = |unit: &WorkUnit| {
        let number = corpus.unit_of(unit.samples.start as u32);
        number.is_some_and(|number| worker.takes(number))
    };
    let units_mine = (0..corpus.units().len()).filter(|&number| worker.takes(number)).count();
    let mut left = Vec::new();
    if let Some(dir) = &dir {
        let missing = dir.missing_units()?;
        let mine = missing.iter().filter(|unit| takes(unit));
        left.extend(mine.map(|unit| UnitWork::of(dir.layer(), &corpus, unit)));
    }
    let plan = Plan {
        asked,
        layer: dir.as_ref().map(|dir| dir.layer().clone()),
        worker,
        units_total: corpus.units().len(),
        units_mine,
        units_skipped: units_mine - left.len(),
        tokens: left.iter().map(|work| work.tokens).sum(),
        positions: left.iter().map(|work| work.positions).sum(),
    };
    Ok((plan, dir, left))
}
