//! What is left to do: which work units this worker still has to capture, and how much they hold.

use leadspan_cache::{Cache, Layer, PreparedCorpus, WorkUnit};

use crate::{PrecomputeError, Worker, batches::spans_of};

/// What a run is about to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The layer whose shards are to be there in the end.
    pub layer: Layer,
    /// Which units are this worker's.
    pub worker: Worker,
    /// A complete layer that covers everything asked for, where there is one: nothing is left to do then.
    pub covered_by: Option<Layer>,
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

/// The plan, and the units that are to be done, in order.
pub(crate) fn plan(cache: &Cache, layer: Layer, worker: Worker) -> Result<(Plan, Vec<UnitWork>), PrecomputeError> {
    let corpus = cache.require_corpus()?;
    let covered_by = cache
        .layers()?
        .iter()
        .find(|dir| dir.layer().covers(&layer) && dir.missing_units().is_empty())
        .map(|dir| *dir.layer());
    let mine: Vec<&WorkUnit> = corpus
        .units()
        .iter()
        .enumerate()
        .filter(|(number, _)| worker.takes(*number))
        .map(|(_, unit)| unit)
        .collect();
    let left: Vec<UnitWork> = if covered_by.is_some() {
        Vec::new()
    } else {
        let dir = cache.layer(&layer)?;
        mine.iter()
            .filter(|unit| !dir.is_committed(unit))
            .map(|unit| UnitWork::of(&layer, &corpus, unit))
            .collect()
    };
    let plan = Plan {
        layer,
        worker,
        covered_by,
        units_total: corpus.units().len(),
        units_mine: mine.len(),
        units_skipped: mine.len() - left.len(),
        tokens: left.iter().map(|work| work.tokens).sum(),
        positions: left.iter().map(|work| work.positions).sum(),
    };
    Ok((plan, left))
}
