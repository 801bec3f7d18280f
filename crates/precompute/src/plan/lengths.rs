//! Quantiles and a histogram of the samples' lengths in tokens. Pure.

use serde::Serialize;

/// The shares of samples whose quantiles are given.
const SHARES: [f64; 7] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0];

/// The number of bins by which their width is chosen.
const BINS: u32 = 10;

/// The distribution of the samples' lengths, in tokens of whole samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lengths {
    /// The mean.
    pub mean: f64,
    /// From the shortest to the longest.
    pub quantiles: Vec<Quantile>,
    /// Bins of equal width, from the shortest sample to the longest.
    pub histogram: Vec<Bin>,
}

/// A share of the samples that have at most this many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// The share of the samples, 0 to 1.
    pub share: f64,
    /// Tokens.
    pub tokens: u32,
}

/// The samples of `from..to` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// The smallest number of tokens in the bin.
    pub from: u32,
    /// The smallest number above the bin.
    pub to: u32,
    /// The number of samples.
    pub samples: u64,
}

impl Lengths {
    /// The lengths of samples of these `tokens`, each of which stands for `scale` samples.
    pub(super) fn of(mut tokens: Vec<u32>, scale: f64) -> Self {
        tokens.sort_unstable();
        let (Some(&shortest), Some(&longest)) = (tokens.first(), tokens.last()) else {
            return Self {
                mean: 0.0,
                quantiles: Vec::new(),
                histogram: Vec::new(),
            };
        };
        let quantiles = SHARES.map(|share| {
            // The nearest rank, from 1.
            let rank = (share * tokens.len() as f64).ceil().max(1.0) as usize;
            let tokens = tokens[rank - 1];
            Quantile { share, tokens }
        });
        let width = round_width((longest - shortest) / BINS + 1);
        let bins = shortest / width..=longest / width;
        let histogram = bins.map(|bin| {
            let (from, to) = (bin * width, (bin + 1) * width);
            let below = |limit: u32| tokens.partition_point(|&tokens| tokens < limit);
            let samples = ((below(to) - below(from)) as f64 * scale).round() as u64;
            Bin { from, to, samples }
        });
        Self {
            mean: tokens.iter().map(|&tokens| f64::from(tokens)).sum::<f64>() / tokens.len() as f64,
            quantiles: quantiles.to_vec(),
            histogram: histogram.collect(),
        }
    }
}

/// The smallest of 1, 2, 5, 10, 20, … that is at least `least`.
fn round_width(least: u32) -> u32 {
    let mut power = 1u32;
    loop {
        for digit in [1, 2, 5] {
            let width = power.saturating_mul(digit);
            if width >= least {
                return width;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_agree_with_a_calculation_by_hand() {
        let lengths = Lengths::of((1..=20).rev().collect(), 2.0);
        let quantiles: Vec<u32> = lengths.quantiles.iter().map(|quantile| quantile.tokens).collect();
        assert_eq!(quantiles, [1, 2, 5, 10, 15, 18, 20]);
        assert_eq!(lengths.mean, 10.5);
        // Widths of 2, from 0..2 (one sample) to 20..22 (one).
        let samples: Vec<u64> = lengths.histogram.iter().map(|bin| bin.samples).collect();
        assert_eq!(samples, [2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 2]);
        assert_eq!((lengths.histogram[1].from, lengths.histogram[1].to), (2, 4));
        let one = Lengths::of(vec![7], 1.0);
        assert_eq!(
            one.histogram,
            [Bin {
                from: 7,
                to: 8,
                samples: 1
            }]
        );
        assert!(Lengths::of(Vec::new(), 1.0).histogram.is_empty());
        assert_eq!([1, 2, 3, 6, 11, 4096].map(round_width), [1, 2, 5, 10, 20, 5000]);
        Lengths::of(vec![u32::MAX, 1], 1.0);
    }
}
