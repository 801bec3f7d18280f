//! The work that is left: the work units that a worker still has to capture, and their tokens and positions.

use std::collections::HashSet;

use leadspan_cache::{Cache, Coverage, Layer, LayerDir, PreparedCorpus, WorkUnit};
use leadspan_workers::{Awaited, Worker};

use crate::{PrecomputeError, batches::spans_of, costs::unit_costs};

/// The work that a worker still has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// What the cache should hold in the end.
    pub asked: Coverage,
    /// The layers that have to be captured for this; none if complete layers cover it already.
    pub layers: Vec<Layer>,
    /// The worker.
    pub worker: Worker,
    /// Work units of all workers.
    pub units_total: usize,
    /// Work units of this worker's share, or all units if it claims them; counted once for each layer.
    pub units_mine: usize,
    /// Those of them that have a shard.
    pub units_skipped: usize,
    /// Tokens of the other units that go through the model.
    pub tokens: u64,
    /// Positions of the other units that will be stored.
    pub positions: u64,
}

/// A work unit with its tokens and positions.
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

/// The number of tokens that go through the teacher for a work unit of `layer`.
pub fn unit_tokens(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit) -> u64 {
    UnitWork::of(layer, corpus, unit).tokens
}

/// A layer with its units that have to be captured, in the order of the capture.
pub(crate) struct LayerWork {
    pub(crate) dir: LayerDir,
    pub(crate) units: Vec<UnitWork>,
}

/// The work that is left, in numbers and layer by layer. `number` differs between workers that claim units. While it waits, it
/// calls `waiting` regularly with the process that it waits for.
pub(crate) fn remaining(
    cache: &Cache,
    asked: Coverage,
    worker: Worker,
    number: u64,
    waiting: &mut dyn FnMut(&Awaited),
) -> Result<(Remaining, Vec<LayerWork>), PrecomputeError> {
    let corpus = cache.require_corpus()?;
    let mut works = Vec::new();
    let mut units_mine = 0;
    // Creates the layer that is still lacking.
    cache.layers_to_capture_telling(&asked, waiting)?;
    for (dir, missing) in cache.layers_for(&asked)? {
        let order = order(dir.layer(), &corpus, worker, number);
        let missing: HashSet<usize> = missing
            .iter()
            .filter_map(|unit| corpus.unit_of(unit.samples.start as u32))
            .collect();
        let in_share = order.len();
        // A receipt beside a shard that is empty or short is no committed unit.
        let left = order
            .into_iter()
            .filter(|&unit| missing.contains(&unit) || !dir.is_committed(&corpus.units()[unit]));
        let units: Vec<UnitWork> = left
            .map(|unit| UnitWork::of(dir.layer(), &corpus, &corpus.units()[unit]))
            .collect();
        if !missing.is_empty() || !units.is_empty() {
            units_mine += in_share;
            works.push(LayerWork { dir, units });
        }
    }
    if works.is_empty() {
        units_mine = order(&Layer::from(asked), &corpus, worker, number).len();
    }
    let left = || works.iter().flat_map(|work| &work.units);
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

/// Compares the tokens of the worker's units with their checksums: where nothing is captured, nobody has read them.
///
/// # Errors
///
/// [`CacheError::Damaged`](leadspan_cache::CacheError::Damaged) with the first sample whose tokens are not those that were
/// prepared.
pub(crate) fn check_tokens(cache: &Cache, asked: Coverage, worker: Worker) -> Result<(), PrecomputeError> {
    let corpus = cache.require_corpus()?;
    for unit in order(&Layer::from(asked), &corpus, worker, 0) {
        corpus.check_tokens(corpus.units()[unit].samples.clone())?;
    }
    Ok(())
}

/// The units of a layer that a worker may capture, whether they have a shard or not, in the order of its work: its share in
/// the order of the corpus.
///
/// A worker that claims units begins with the longest unit of its share, so that short units are left for the end, when
/// workers help each other. It continues with the share of the next worker, shortest unit first, and so on. A worker without
/// a number begins at a place that depends on `number`, so that not all workers try to claim the same unit.
fn order(layer: &Layer, corpus: &PreparedCorpus, worker: Worker, number: u64) -> Vec<usize> {
    let costs = unit_costs(layer, corpus);
    let takers = costs.takers(worker.count());
    if worker.lease().is_none() {
        return (0..costs.units())
            .filter(|&unit| takers[unit] == worker.index())
            .collect();
    }
    let mut order: Vec<usize> = (0..costs.units()).collect();
    if worker.count() == 1 {
        let somewhere = number % (order.len() as u64).max(1);
        order.rotate_left(somewhere as usize);
        return order;
    }
    order.sort_by_key(|&unit| {
        let shares_away = (takers[unit] + worker.count() - worker.index()) % worker.count();
        let tokens = costs.tokens(unit);
        (
            shares_away,
            if shares_away == 0 { u64::MAX - tokens } else { tokens },
            unit,
        )
    });
    order
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use leadspan_sequence::{LeadSpanProportion, Sample, SectionBounds, SectionSet, Split};

    use super::*;

    /// A corpus of one sample a unit, of these lengths.
    fn corpus(lengths: &[u32]) -> PreparedCorpus {
        let sample = |(index, &tokens): (usize, &u32)| Sample {
            id: index.to_string(),
            split: Split::Train,
            tokens: vec![1; tokens as usize],
            bounds: SectionBounds::new(0, 0, tokens).unwrap(),
        };
        let samples: Vec<Sample> = lengths.iter().enumerate().map(sample).collect();
        let hashes = vec![[0; 32]; samples.len()];
        PreparedCorpus::first(&samples, &hashes, NonZeroU32::MIN, serde_json::Value::Null).unwrap()
    }

    fn whole() -> Layer {
        Layer::from(Coverage {
            proportion: LeadSpanProportion::WHOLE,
            sections: SectionSet::ALL,
        })
    }

    #[test]
    fn every_unit_is_of_one_share_and_a_worker_that_claims_begins_with_its_own() {
        let corpus = corpus(&[300, 900, 500, 100, 700, 200, 800]);
        let worker = |index| Worker::new(index, 3).unwrap();
        let shares: Vec<Vec<usize>> = (0..3).map(|index| order(&whole(), &corpus, worker(index), 0)).collect();
        let mut all = shares.concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert!(shares.iter().all(|share| share.is_sorted()));
        for index in 0..3 {
            let claiming = worker(index).claiming(Duration::from_secs(1));
            let order = order(&whole(), &corpus, claiming, 5);
            let (own, others) = order.split_at(shares[index].len());
            let tokens = |unit: &usize| corpus.sample(*unit).token_count();
            assert!(own.iter().map(tokens).is_sorted_by(|a, b| a >= b), "{own:?}");
            assert!(own.iter().all(|unit| shares[index].contains(unit)));
            let next = &shares[(index + 1) % 3];
            assert!(others[..next.len()].iter().all(|unit| next.contains(unit)));
            assert!(others[..next.len()].iter().map(tokens).is_sorted(), "{others:?}");
            assert_eq!(order.len(), 7);
        }
    }

    #[test]
    fn workers_that_claim_without_a_number_begin_at_different_units() {
        let corpus = corpus(&[10; 5]);
        let claiming = Worker::ALONE.claiming(Duration::from_secs(1));
        assert_eq!(order(&whole(), &corpus, claiming, 5), [0, 1, 2, 3, 4]);
        assert_eq!(order(&whole(), &corpus, claiming, 8), [3, 4, 0, 1, 2]);
    }
}
