//! How much each position of a step weighs, before the weights of positions within a sample.

use crate::Normalization;

/// The weight of each position of a step. The weights of a normalized step sum to one.
pub(crate) struct Weights {
    normalization: Option<Normalization>,
    positions: usize,
    samples: usize,
}

impl Weights {
    /// The weights of a step of samples that learn so many positions each, in one slice for each kind.
    pub(crate) fn of(normalization: Option<Normalization>, kinds: &[&[usize]]) -> Self {
        let learning = || kinds.iter().copied().flatten().filter(|&&learnt| learnt > 0);
        Self {
            normalization,
            positions: learning().sum(),
            samples: learning().count(),
        }
    }

    /// The mean weight of a position of a sample that learns `learnt` of them.
    pub(crate) fn position(&self, learnt: usize) -> f64 {
        match self.normalization {
            None => 1.0,
            Some(Normalization::Token) => 1.0 / self.positions as f64,
            Some(Normalization::Sequence) => 1.0 / (self.samples * learnt) as f64,
        }
    }

    /// What the weight of a normalized step is divided among: positions, or samples.
    pub(crate) fn parts(&self) -> usize {
        match self.normalization {
            Some(Normalization::Sequence) => self.samples,
            _ => self.positions,
        }
    }

    /// The share of samples that learn so many positions each in the step's weight.
    pub(crate) fn share(&self, kind: &[usize]) -> f64 {
        let Self { positions, samples, .. } = Self::of(self.normalization, &[kind]);
        match self.normalization {
            Some(Normalization::Sequence) => samples as f64 / self.samples as f64,
            _ => positions as f64 / self.positions as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_both_kinds_are_weighed_alike() {
        // Two samples with 2 and 1 positions are distilled, one with 3 and one with none are replayed.
        let distilled = [2, 1];
        let replayed = [3, 0];
        for (normalization, expected, share) in [
            (Normalization::Token, [1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0], 3.0 / 6.0),
            (Normalization::Sequence, [1.0 / 6.0, 1.0 / 3.0, 1.0 / 9.0], 1.0 / 3.0),
        ] {
            let weights = Weights::of(Some(normalization), &[&distilled, &replayed]);
            let found = [2, 1, 3].map(|learnt| weights.position(learnt));
            assert_eq!(
                (found, weights.share(&replayed)),
                (expected, share),
                "{normalization:?}"
            );
            let sum: f64 = [2.0, 1.0, 3.0]
                .iter()
                .zip(found)
                .map(|(positions, weight)| positions * weight)
                .sum();
            assert!((sum - 1.0).abs() < 1e-15);
        }
    }
}
