//! One forward pass: packed samples, and the targets at their supervised positions.

use leadspan_cache::Span;
use leadspan_model::Packed;
use leadspan_sequence::fed_tokens;

use crate::{
    learnt_span::LearntSpan,
    objective::{Distillation, SupervisedRows},
    policies::StudentChoice,
    weights::Weights,
};

/// Samples that go through the student together.
#[derive(Debug)]
pub struct MicroBatch {
    /// Their tokens, up to each one's last supervised position, learnt or not.
    pub packed: Packed,
    /// The supervised positions as indices into the packed tokens.
    pub places: Vec<u32>,
    /// Targets, weights and entries at those places.
    pub rows: SupervisedRows,
    /// Which of the rows are learnt, if the student's own distribution decides.
    pub(crate) choice: Option<StudentChoice>,
}

/// A sample of a pass.
struct Member<'a> {
    span: &'a Span,
    /// How many of its tokens go through the student.
    fed: usize,
    /// The weight of each of its positions.
    weights: Vec<f32>,
}

impl MicroBatch {
    /// Lays out `spans` for a student with `vocabulary` tokens. `weight` gives the weight of each position of a span.
    pub fn new(spans: &[&Span], weight: &dyn Fn(&Span) -> f64, distillation: Distillation, vocabulary: usize) -> Self {
        let members = spans.iter().map(|&span| Member {
            span,
            fed: fed_tokens(span.positions.last().copied()),
            weights: vec![weight(span) as f32; span.positions.len()],
        });
        Self::of(&members.collect::<Vec<_>>(), distillation, vocabulary)
    }

    /// Lays out samples whose positions have weights of their own within each.
    pub(crate) fn learnt(
        spans: &[&LearntSpan],
        weights: &Weights,
        distillation: Distillation,
        vocabulary: usize,
    ) -> Self {
        let members = spans.iter().map(|&learnt| {
            let mean = weights.position(learnt.learnt());
            Member {
                span: &learnt.span,
                fed: learnt.fed,
                weights: learnt.weights.iter().map(|weight| (mean * weight) as f32).collect(),
            }
        });
        let batch = Self::of(&members.collect::<Vec<_>>(), distillation, vocabulary);
        let choice = spans.first().and_then(|first| {
            let rows = spans.iter().map(|learnt| learnt.span.positions.len());
            StudentChoice::new(first.positions, rows)
        });
        Self { choice, ..batch }
    }

    fn of(members: &[Member<'_>], distillation: Distillation, vocabulary: usize) -> Self {
        // Tokens after the last supervised position change nothing before it, so they are left out.
        let packed = Packed::new(members.iter().map(|member| &member.span.tokens[..member.fed]));
        let (mut places, mut rows) = (Vec::new(), SupervisedRows::new(distillation));
        for (Member { span, weights, .. }, &start) in members.iter().zip(packed.edges()) {
            places.extend(span.positions.iter().map(|&position| start as u32 + position));
            let targets = span
                .positions
                .iter()
                .map(|&position| span.tokens[position as usize + 1]);
            rows.push_weighted(targets.zip(weights.iter().copied()), &span.distributions, vocabulary);
        }
        Self {
            packed,
            places,
            rows,
            choice: None,
        }
    }

    /// How many positions are learnt.
    pub(crate) fn learnt_positions(&self) -> usize {
        self.choice.as_ref().map_or(self.rows.len(), StudentChoice::learnt)
    }

    /// How many positions go through the head to be chosen from; 0 if the student chooses none.
    pub(crate) fn measured_positions(&self) -> usize {
        self.choice.as_ref().map_or(0, |_| self.rows.len())
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
