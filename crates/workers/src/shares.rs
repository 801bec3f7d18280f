//! Which worker takes which work unit. Units are dealt out longest first, each to the worker with the fewest tokens. Pure.
//!
//! Every worker computes the same division whenever it starts, because the division depends only on the units and the number
//! of workers, and not on what is captured already. Each part of the corpus is divided separately, so that appended units
//! are shared evenly even if all earlier units are done.

use std::{cmp::Reverse, collections::BinaryHeap, iter::once, ops::Range};

/// The fixed cost of a shard, in tokens. It keeps units without tokens from all going to one worker.
const TOKENS_A_SHARD: u64 = 64;

/// The cost of each work unit, by which the units are divided among workers.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitCosts {
    /// The tokens of each unit, in the order of the corpus.
    tokens: Vec<u64>,
    /// The parts that are divided separately: the range of each part's units, and these units with the longest first.
    parts: Vec<(Range<usize>, Vec<usize>)>,
}

impl UnitCosts {
    /// Units with these `tokens`; each of `parts` is a range of units that is divided separately.
    ///
    /// # Panics
    ///
    /// If a part reaches beyond the last unit.
    pub fn new(tokens: Vec<u64>, parts: impl IntoIterator<Item = Range<usize>>) -> Self {
        let longest_first = |part: Range<usize>| {
            let mut order: Vec<usize> = part.clone().collect();
            order.sort_by_key(|&unit| (Reverse(tokens[unit]), unit));
            (part, order)
        };
        let parts = parts.into_iter().map(longest_first).collect();
        Self { tokens, parts }
    }

    /// This many units of equal cost, in one part.
    pub fn equal(units: usize) -> Self {
        Self::new(vec![0; units], once(0..units))
    }

    /// The number of units.
    pub fn units(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens of a unit.
    ///
    /// # Panics
    ///
    /// If there is no such unit.
    pub fn tokens(&self, unit: usize) -> u64 {
        self.tokens[unit]
    }

    /// For each unit, the index of the worker that takes it, out of `count` workers.
    pub fn takers(&self, count: usize) -> Vec<usize> {
        let mut takers = vec![0; self.tokens.len()];
        for (part, order) in &self.parts {
            // The worker with the fewest tokens comes first; among equals, the one whose turn it is after the previous part.
            let mut idle: BinaryHeap<Reverse<(u64, usize)>> =
                (0..count.min(part.len())).map(|turn| Reverse((0, turn))).collect();
            for &unit in order {
                if let Some(Reverse((busy, turn))) = idle.pop() {
                    takers[unit] = (part.start % count + turn) % count;
                    idle.push(Reverse((busy + self.tokens[unit] + TOKENS_A_SHARD, turn)));
                }
            }
        }
        takers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_units_go_first_to_the_worker_with_the_fewest_tokens() {
        let costs = UnitCosts::new(vec![400, 1000, 700, 600, 300], once(0..5));
        // The workers take 1000, 700 and 600 in turn. Then the third takes 400 and the second 300.
        assert_eq!(costs.takers(3), [2, 0, 1, 2, 1]);
        assert_eq!(costs.takers(1), [0; 5]);
        assert_eq!(costs.takers(1_000_000_000), [3, 0, 1, 2, 4]);
    }

    #[test]
    fn every_part_of_a_corpus_is_divided_separately_and_starts_with_the_next_worker() {
        let costs = UnitCosts::new(vec![9000, 10, 10, 10, 10, 10], [0..2, 2..6]);
        assert_eq!(costs.takers(4), [0, 1, 2, 3, 0, 1]);
        // The second part is divided evenly although the first one is not.
        assert_eq!(costs.takers(2), [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn units_without_tokens_are_shared_by_number() {
        let takers = UnitCosts::new(vec![0; 1000], once(0..1000)).takers(7);
        for worker in 0..7 {
            let units = takers.iter().filter(|&&taker| taker == worker).count();
            assert!((142..=143).contains(&units), "{units}");
        }
    }

    proptest! {
        #[test]
        fn no_worker_has_more_than_the_average_and_one_unit(
            costs in prop::collection::vec(0u64..100_000, 1..200), count in 1usize..40,
        ) {
            let largest = costs.iter().max().unwrap() + TOKENS_A_SHARD;
            let total: u64 = costs.iter().map(|cost| cost + TOKENS_A_SHARD).sum();
            let shares = UnitCosts::new(costs.clone(), once(0..costs.len()));
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
