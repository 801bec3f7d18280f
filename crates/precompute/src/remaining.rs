//! What is left to do: which work units this worker still has to capture, and how much they hold.

use std::collections::HashSet;

use leadspan_cache::{Cache, Coverage, Layer, LayerDir, PreparedCorpus, WorkUnit};

use crate::{PrecomputeError, Worker, batches::spans_of, costs::unit_costs};

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
    /// Work units of this worker's share, or of all where it claims them; counted once for each layer.
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

/// A layer, and its units that are to be done, in the order in which they are.
pub(crate) struct LayerWork {
    pub(crate) dir: LayerDir,
    pub(crate) units: Vec<UnitWork>,
}

/// What is left, in numbers and layer by layer. `number` is different for every worker that claims.
pub(crate) fn remaining(
    cache: &Cache,
    asked: Coverage,
    worker: Worker,
    number: u64,
) -> Result<(Remaining, Vec<LayerWork>), PrecomputeError> {
    let corpus = cache.require_corpus()?;
    let mut works = Vec::new();
    let mut units_mine = 0;
    for dir in cache.layers_to_capture(&asked)? {
        let order = order(dir.layer(), &corpus, worker, number);
        units_mine += order.len();
        let missing: HashSet<usize> = dir
            .missing_units()?
            .iter()
            .filter_map(|unit| corpus.unit_of(unit.samples.start as u32))
            .collect();
        let left = order.into_iter().filter(|unit| missing.contains(unit));
        let units = left
            .map(|unit| UnitWork::of(dir.layer(), &corpus, &corpus.units()[unit]))
            .collect();
        works.push(LayerWork { dir, units });
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

/// The units of a layer that a worker may come to do, captured or not, in the order in which it does them: its share in
/// the order of the corpus.
///
/// One that claims does the longest of its share first, which leaves the short ones for the end, when everybody helps; then
/// it goes on with the share of the next worker, from the other end, and so on. Where it is not numbered it begins
/// somewhere, so that not all of them ask for the same unit.
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
    fn workers_that_claim_without_a_number_begin_in_different_places() {
        let corpus = corpus(&[10; 5]);
        let claiming = Worker::ALONE.claiming(Duration::from_secs(1));
        assert_eq!(order(&whole(), &corpus, claiming, 5), [0, 1, 2, 3, 4]);
        assert_eq!(order(&whole(), &corpus, claiming, 8), [3, 4, 0, 1, 2]);
    }
}
