//! Which samples of a step each process takes.

use std::iter::once;

use leadspan_cache::Reader;
use leadspan_sequence::fed_tokens;
use leadspan_workers::UnitCosts;

use crate::batches::KeptSample;

/// The share of one of several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The number of the process, counted from 0.
    pub(crate) rank: usize,
    /// The number of processes.
    pub(crate) count: usize,
}

impl Share {
    /// The samples of a step that this process takes: of the distilled ones, and of the replayed ones. The longest samples are
    /// dealt out first, each to the process with the fewest tokens; a share keeps the step's order. All processes compute the
    /// same division, which depends on lengths alone.
    pub(crate) fn of_step(
        self,
        (reader, samples): (&Reader, &[KeptSample]),
        replayed: Option<(&Reader, &[u32])>,
    ) -> (Vec<KeptSample>, Vec<u32>) {
        let (replay_reader, more) = replayed.unwrap_or((reader, &[]));
        if self.count == 1 {
            return (samples.to_vec(), more.to_vec());
        }
        let fed = |reader: &Reader, sample: u32| {
            let sample = reader.corpus().sample(sample as usize);
            fed_tokens(reader.coverage().positions(sample).last())
        };
        let kept = samples.iter().map(|kept| fed(reader, kept.sample).min(kept.tokens));
        let whole = more.iter().map(|&sample| fed(replay_reader, sample));
        let tokens = kept.chain(whole).map(|tokens| tokens as u64).collect();
        let takers = takers(tokens, self.count);
        let (takers, of_more) = takers.split_at(samples.len());
        (self.mine(samples, takers), self.mine(more, of_more))
    }

    fn mine<T: Copy>(self, samples: &[T], takers: &[usize]) -> Vec<T> {
        let taken = samples.iter().zip(takers);
        let mine = taken.filter(|(_, taker)| **taker == self.rank);
        mine.map(|(sample, _)| *sample).collect()
    }
}

/// The process that takes each of a step's samples, of which these are the lengths.
fn takers(tokens: Vec<u64>, count: usize) -> Vec<usize> {
    let samples = tokens.len();
    UnitCosts::new(tokens, once(0..samples)).takers(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_samples_go_first_to_the_process_with_the_fewest_tokens() {
        // 900 and 800 begin; 750 goes to the second, 600 and 100 go to the first, 50 to the second.
        assert_eq!(takers(vec![100, 900, 600, 800, 50, 750], 2), [0, 0, 0, 1, 1, 1]);
        // A step with fewer samples than processes leaves some without.
        assert_eq!(takers(vec![10, 30, 20], 4), [2, 0, 1]);
        assert_eq!(takers(Vec::new(), 3), [0; 0]);
    }

    #[test]
    fn the_shares_of_all_processes_are_the_step_in_its_order() {
        let samples: Vec<u32> = (0..23).map(|sample| sample * 5 % 23).collect();
        let lengths: Vec<u64> = samples.iter().map(|&sample| u64::from(sample * 37 % 400)).collect();
        for count in 1..=6 {
            let takers = takers(lengths.clone(), count);
            let shares: Vec<Vec<u32>> = (0..count)
                .map(|rank| Share { rank, count }.mine(&samples, &takers))
                .collect();
            let mut all = shares.concat();
            all.sort_unstable();
            assert_eq!(all, (0..23).collect::<Vec<u32>>());
            let place = |sample: &u32| samples.iter().position(|other| other == sample);
            assert!(shares.iter().all(|share| share.is_sorted_by_key(place)));
        }
    }
}
