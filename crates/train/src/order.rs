//! The order of samples in an epoch, and how a step's samples are grouped into forward passes.

/// A permutation of `samples` that depends only on seed and epoch.
pub(crate) fn epoch_order(samples: &[u32], seed: u64, epoch: usize) -> Vec<u32> {
    let key = |sample: &u32| (bits_of(seed, epoch, *sample), *sample);
    let mut order = samples.to_vec();
    order.sort_by_cached_key(key);
    order
}

/// A number from 0 to below 1 that depends only on seed, epoch and sample.
pub(crate) fn draw(seed: u64, epoch: usize, sample: u32) -> f64 {
    // A double has 53 bits.
    (bits_of(seed, epoch, sample) >> 11) as f64 / (1u64 << 53) as f64
}

/// Random bits of a sample in an epoch.
fn bits_of(seed: u64, epoch: usize, sample: u32) -> u64 {
    let mut bits = [0; 16];
    bits[..8].copy_from_slice(&(epoch as u64).to_le_bytes());
    bits[8..12].copy_from_slice(&sample.to_le_bytes());
    mix(seed, u128::from_le_bytes(bits))
}

/// A well-mixed 64-bit function of seed and value: two rounds of the `SplitMix64` finalizer.
fn mix(seed: u64, value: u128) -> u64 {
    [seed, value as u64, (value >> 64) as u64]
        .into_iter()
        .fold(0x9e37_79b9_7f4a_7c15, |state: u64, word| {
            let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
}

/// Groups items of the given lengths into passes of at most `tokens` tokens: longest first, each into the first pass that
/// has room. An item longer than `tokens` has a pass of its own.
pub(crate) fn micro_batches(lengths: &[usize], tokens: usize) -> Vec<Vec<usize>> {
    let mut by_length: Vec<usize> = (0..lengths.len()).collect();
    by_length.sort_by_key(|&item| std::cmp::Reverse(lengths[item]));
    let mut passes: Vec<(usize, Vec<usize>)> = Vec::new();
    for item in by_length {
        match passes.iter_mut().find(|(taken, _)| taken + lengths[item] <= tokens) {
            Some((taken, pass)) => {
                *taken += lengths[item];
                pass.push(item);
            }
            None => passes.push((lengths[item], vec![item])),
        }
    }
    passes.into_iter().map(|(_, pass)| pass).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_that_repeats_and_differs_from_the_next() {
        let samples: Vec<u32> = (0..1000).map(|i| i * 3).collect();
        let (first, second) = (epoch_order(&samples, 5, 0), epoch_order(&samples, 5, 1));
        assert_eq!(first, epoch_order(&samples, 5, 0));
        assert_ne!(first, second);
        assert_ne!(first, epoch_order(&samples, 6, 0));
        for order in [&first, &second] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, samples);
        }
        // Unshuffled neighbours stay neighbours about twice in a thousand pairs.
        assert!(first.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 3).count() < 12);
    }

    #[test]
    fn draws_are_spread_evenly_over_the_unit_interval() {
        let mut tenths = [0; 10];
        for sample in 0..10_000 {
            tenths[(10.0 * draw(3, 1, sample)) as usize] += 1;
        }
        // A tenth has 1,000 draws; four standard deviations are 120.
        assert!(
            tenths.iter().all(|count: &i32| count.abs_diff(1000) < 120),
            "{tenths:?}"
        );
    }

    #[test]
    fn passes_hold_every_item_once_within_the_token_budget() {
        let lengths = [5, 100, 7, 50, 49, 3, 300];
        let passes = micro_batches(&lengths, 100);
        let mut items: Vec<usize> = passes.iter().flatten().copied().collect();
        items.sort_unstable();
        assert_eq!(items, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(passes, [vec![6], vec![1], vec![3, 4], vec![2, 0, 5]]);
    }
}
