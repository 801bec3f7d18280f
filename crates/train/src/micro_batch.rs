//! One forward pass: packed samples, and the targets at their supervised positions.

use leadspan_cache::Span;
use leadspan_model::Packed;
use leadspan_sequence::fed_tokens;

use crate::objective::{Distillation, SupervisedRows};

/// Samples that go through the student together.
#[derive(Debug)]
pub struct MicroBatch {
    /// Their tokens, up to each one's last supervised position.
    pub packed: Packed,
    /// The supervised positions as indices into the packed tokens.
    pub places: Vec<u32>,
    /// Targets, weights and entries at those places.
    pub rows: SupervisedRows,
}

impl MicroBatch {
    /// Lays out `spans` for a student with `vocabulary` tokens. `weight` gives the weight of each position of a span.
    pub fn new(spans: &[&Span], weight: &dyn Fn(&Span) -> f64, distillation: Distillation, vocabulary: usize) -> Self {
        // Tokens after the last supervised position change nothing before it, so they are left out.
        let packed = Packed::new(
            spans
                .iter()
                .map(|span| &span.tokens[..fed_tokens(span.positions.last().copied())]),
        );
        let (mut places, mut rows) = (Vec::new(), SupervisedRows::new(distillation));
        for (span, &start) in spans.iter().zip(packed.edges()) {
            places.extend(span.positions.iter().map(|&position| start as u32 + position));
            let targets = span
                .positions
                .iter()
                .map(|&position| span.tokens[position as usize + 1]);
            rows.push_sample(targets, &span.distributions, weight(span) as f32, vocabulary);
        }
        Self { packed, places, rows }
    }

    /// How many tokens go through the student.
    pub fn token_count(&self) -> usize {
        self.packed.tokens().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadspan_distribution::{Distributions, Position};

    fn span(tokens: &[u32], positions: &[u32]) -> Span {
        let mut distributions = Distributions::new();
        for &position in positions {
            distributions.push(Position {
                token_ids: &[tokens[position as usize + 1]],
                logprobs: &[-0.5],
                tail_logprob: (1.0 - (-0.5f32).exp()).ln(),
                target_logprob: -0.5,
                ..Position::default()
            });
        }
        Span {
            tokens: tokens.to_vec(),
            positions: positions.to_vec(),
            distributions,
        }
    }

    #[test]
    fn places_and_targets_line_up() {
        let (a, b) = (span(&[10, 11, 12, 13], &[1, 2]), span(&[20, 21, 22], &[0]));
        let batch = MicroBatch::new(&[&a, &b], &|_| 1.0, Distillation::default(), 50);
        // The last token of a sample is only a target, and so is the token after the last supervised position.
        assert_eq!(
            (batch.packed.tokens(), batch.packed.edges()),
            (&[10, 11, 12, 20][..], &[0, 3, 4][..])
        );
        assert_eq!(batch.token_count(), 4);
        assert_eq!(batch.places, [1, 2, 3]);
        assert_eq!(batch.rows.targets, [12, 13, 21]);
    }
}
