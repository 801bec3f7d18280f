//! How much each position of a step weighs.

use leadspan_cache::Span;

use crate::Normalization;

/// The weight of each position of a step. The weights of a normalized step sum to one.
pub(crate) struct Weights {
    normalization: Option<Normalization>,
    positions: usize,
    samples: usize,
}

impl Weights {
    /// The weights of a step of these samples, in one slice for each kind.
    pub(crate) fn of(normalization: Option<Normalization>, kinds: &[&[Span]]) -> Self {
        let learning = || {
            kinds
                .iter()
                .flat_map(|spans| spans.iter())
                .filter(|span| !span.positions.is_empty())
        };
        Self {
            normalization,
            positions: learning().map(|span| span.positions.len()).sum(),
            samples: learning().count(),
        }
    }

    /// The weight of each position of one of the samples.
    pub(crate) fn position(&self, span: &Span) -> f64 {
        match self.normalization {
            None => 1.0,
            Some(Normalization::Token) => 1.0 / self.positions as f64,
            Some(Normalization::Sequence) => 1.0 / (self.samples * span.positions.len()) as f64,
        }
    }

    /// What the weight of a normalized step is divided among: positions, or samples.
    pub(crate) fn parts(&self) -> usize {
        match self.normalization {
            Some(Normalization::Sequence) => self.samples,
            _ => self.positions,
        }
    }

    /// The share of these samples in the step's weight.
    pub(crate) fn share(&self, spans: &[Span]) -> f64 {
        let Self { positions, samples, .. } = Self::of(self.normalization, &[spans]);
        match self.normalization {
            Some(Normalization::Sequence) => samples as f64 / self.samples as f64,
            _ => positions as f64 / self.positions as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadspan_distribution::Distributions;

    fn span(positions: &[u32]) -> Span {
        Span {
            tokens: (0..=positions.len() as u32).collect(),
            positions: positions.to_vec(),
            distributions: Distributions::new(),
        }
    }

    #[test]
    fn positions_of_both_kinds_are_weighed_alike() {
        // Two samples with 2 and 1 positions are distilled, one with 3 and one with none are replayed.
        let distilled = [span(&[0, 1]), span(&[0])];
        let replayed = [span(&[0, 1, 2]), span(&[])];
        for (normalization, expected, share) in [
            (Normalization::Token, [1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0], 3.0 / 6.0),
            (Normalization::Sequence, [1.0 / 6.0, 1.0 / 3.0, 1.0 / 9.0], 1.0 / 3.0),
        ] {
            let weights = Weights::of(Some(normalization), &[&distilled, &replayed]);
            let found = [&distilled[0], &distilled[1], &replayed[0]].map(|span| weights.position(span));
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
