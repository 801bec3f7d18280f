//! Which worker takes which work unit: the longest first, each by whoever has least to do so far. Pure.
//!
//! The division is the same in every worker, whenever it starts: it depends on the layer, the corpus and the number of
//! workers, and not on what is captured already. Each part of the corpus is divided for itself, so that appended units
//! are shared evenly though all others are done.

use std::{cmp::Reverse, collections::BinaryHeap, iter::once, ops::Range};

use leadspan_cache::{Layer, PreparedCorpus, WorkUnit};

/// What a shard costs whatever is in it, in tokens: so that units without any do not all fall to one worker.
const TOKENS_A_SHARD: u64 = 64;

/// What capturing each unit of a layer costs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Costs {
    /// Of each unit of the corpus, in order.
    costs: Vec<u64>,
    /// Units that are divided together: their places, and the same with the dearest first.
    parts: Vec<(Range<usize>, Vec<usize>)>,
}

impl Costs {
    /// Predicted by the tokens that go through the teacher.
    pub(crate) fn of(layer: &Layer, corpus: &PreparedCorpus) -> Self {
        let costs = corpus
            .units()
            .iter()
            .map(|unit| tokens_of(layer, corpus, unit))
            .collect();
        Self::new(costs, corpus.parts().iter().map(|part| part.units.clone()))
    }

    /// Of so many units that are all alike.
    pub(crate) fn alike(units: usize) -> Self {
        Self::new(vec![0; units], once(0..units))
    }

    fn new(costs: Vec<u64>, parts: impl IntoIterator<Item = Range<usize>>) -> Self {
        let dearest_first = |part: Range<usize>| {
            let mut order: Vec<usize> = part.clone().collect();
            order.sort_by_key(|&unit| (Reverse(costs[unit]), unit));
            (part, order)
        };
        let parts = parts.into_iter().map(dearest_first).collect();
        Self { costs, parts }
    }

    /// How many units there are.
    pub(crate) fn len(&self) -> usize {
        self.costs.len()
    }

    /// The tokens of a unit.
    pub(crate) fn tokens(&self, unit: usize) -> u64 {
        self.costs[unit]
    }

    /// Which of `count` workers takes each unit.
    pub(crate) fn takers(&self, count: usize) -> Vec<usize> {
        let mut takers = vec![0; self.costs.len()];
        for (part, order) in &self.parts {
            // The least busy first, then those whose turn it is after the part before.
            let mut idle: BinaryHeap<Reverse<(u64, usize)>> =
                (0..count.min(part.len())).map(|turn| Reverse((0, turn))).collect();
            for &unit in order {
                if let Some(Reverse((busy, turn))) = idle.pop() {
                    takers[unit] = (part.start % count + turn) % count;
                    idle.push(Reverse((busy + self.costs[unit] + TOKENS_A_SHARD, turn)));
                }
            }
        }
        takers
    }
}

/// The tokens of a unit that go through the teacher.
fn tokens_of(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit) -> u64 {
    corpus
        .samples_of(unit.samples.clone())
        .filter_map(|sample| layer.leading_tokens(sample))
        .map(u64::from)
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_go_first_to_whoever_has_least() {
        let costs = Costs::new(vec![400, 1000, 700, 600, 300], once(0..5));
        // 1000 to the first, 700 to the second, 600 to the third; 400 to the third, 300 to the second.
        assert_eq!(costs.takers(3), [2, 0, 1, 2, 1]);
        assert_eq!(costs.takers(1), [0; 5]);
        assert_eq!(costs.takers(1_000_000_000), [3, 0, 1, 2, 4]);
    }

    #[test]
    fn every_part_of_a_corpus_is_divided_for_itself_and_goes_on_with_the_next_worker() {
        let costs = Costs::new(vec![9000, 10, 10, 10, 10, 10], [0..2, 2..6]);
        assert_eq!(costs.takers(4), [0, 1, 2, 3, 0, 1]);
        // What the first part left uneven does not starve anybody of the second.
        assert_eq!(costs.takers(2), [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn units_without_tokens_are_shared_by_number() {
        let takers = Costs::new(vec![0; 1000], once(0..1000)).takers(7);
        for worker in 0..7 {
            let units = takers.iter().filter(|&&taker| taker == worker).count();
            assert!((142..=143).contains(&units), "{units}");
        }
    }

    proptest! {
        #[test]
        fn nobody_has_more_than_the_average_and_one_unit(
            costs in prop::collection::vec(0u64..100_000, 1..200), count in 1usize..40,
        ) {
            let largest = costs.iter().max().unwrap() + TOKENS_A_SHARD;
            let total: u64 = costs.iter().map(|cost| cost + TOKENS_A_SHARD).sum();
            let shares = Costs::new(costs.clone(), once(0..costs.len()));
            let takers = shares.takers(count);
            prop_assert_eq!(&takers, &shares.takers(count));
            for worker in 0..count {
                let mine = takers.iter().zip(&costs).filter(|(taker, _)| **taker == worker);
                let busy: u64 = mine.map(|(_, cost)| cost + TOKENS_A_SHARD).sum();
                prop_assert!(busy <= total / count as u64 + largest);
            }
        }
    }
}
