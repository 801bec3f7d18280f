//! A sample as a step learns from it: the policies on its positions, applied to what was read of it.

use leadspan_cache::Span;
use leadspan_distribution::Distributions;
use leadspan_sequence::{SectionBounds, fed_tokens};

use crate::{
    objective::teacher_entropy,
    policies::{Positions, Supervision, highest, of_mean_one},
};

/// The positions of a sample that go through the head, and what they weigh.
#[derive(Debug)]
pub(crate) struct LearntSpan {
    /// The tokens that are kept, and the positions that go through the head.
    pub(crate) span: Span,
    /// How many tokens go through the student: up to the last supervised position, learnt or not, so that the number follows
    /// from the lengths of the sample.
    pub(crate) fed: usize,
    /// The weight of each position relative to the others; 1 in the mean over the positions that are learnt.
    pub(crate) weights: Vec<f64>,
    /// By what they were chosen, or will be after the student's forward pass.
    pub(crate) positions: Positions,
    learnt: usize,
}

impl LearntSpan {
    /// What is learnt of a sample with these sections, of which `span` was read.
    pub(crate) fn new(span: Span, bounds: SectionBounds, supervision: Supervision) -> Self {
        let Supervision { positions, weights } = supervision;
        let supervised = span.positions.len();
        let learnt = positions.learnt(supervised);
        let fed = fed_tokens(span.positions.last().copied());
        let form = |(place, &position): (usize, &u32)| weights.form(place, supervised, bounds.section_of(position + 1));
        let forms: Vec<f64> = span.positions.iter().enumerate().map(form).collect();
        let (span, forms) = if positions.are_chosen_by_teacher() {
            let entropies: Vec<f64> = span.distributions.iter().map(teacher_entropy).collect();
            chosen(&span, &forms, &highest(&entropies, learnt))
        } else {
            (span, forms)
        };
        Self {
            weights: of_mean_one(&forms, learnt).collect(),
            span,
            fed,
            positions,
            learnt,
        }
    }

    /// How many positions are learnt.
    pub(crate) fn learnt(&self) -> usize {
        self.learnt
    }
}

/// A span with some of its positions, and their forms.
fn chosen(span: &Span, forms: &[f64], places: &[usize]) -> (Span, Vec<f64>) {
    let mut distributions = Distributions::new();
    for &place in places {
        distributions.push(span.distributions.get(place));
    }
    let chosen = Span {
        tokens: span.tokens.clone(),
        positions: places.iter().map(|&place| span.positions[place]).collect(),
        distributions,
    };
    (chosen, places.iter().map(|&place| forms[place]).collect())
}

#[cfg(test)]
mod tests {
    use leadspan_distribution::Position;

    use super::*;
    use crate::policies::PositionWeights;

    /// Positions 1 to 4 of 6 tokens, two of which are prompt and the last two of which are answer, with a tail of these masses.
    fn span(tails: [f32; 4]) -> (Span, SectionBounds) {
        let mut distributions = Distributions::new();
        for tail in tails {
            distributions.push(Position {
                token_ids: &[3],
                logprobs: &[(1.0 - tail).ln()],
                tail_logprob: tail.ln(),
                ..Position::default()
            });
        }
        let span = Span {
            tokens: vec![10, 11, 12, 13, 14, 15],
            positions: vec![1, 2, 3, 4],
            distributions,
        };
        (span, SectionBounds::new(2, 4, 6).unwrap())
    }

    fn half() -> leadspan_sequence::LeadSpanProportion {
        "0.5".parse().unwrap()
    }

    #[test]
    fn the_positions_of_highest_entropy_are_learnt_and_the_rest_are_fed_alone() {
        // Of two outcomes, the nearer to ½ the higher the entropy.
        let (span, bounds) = span([0.01, 0.5, 0.25, 0.05]);
        let supervision = Supervision {
            positions: Positions::TeacherEntropy(half()),
            weights: PositionWeights::Sections {
                prompt: 1.0,
                chain_of_thought: 1.0,
                answer: 3.0,
            },
        };
        let expected = [span.distributions.get(1), span.distributions.get(2)];
        let learnt = LearntSpan::new(span.clone(), bounds, supervision);
        assert_eq!(
            (&learnt.span.positions[..], learnt.learnt(), learnt.fed),
            (&[2, 3][..], 2, 5)
        );
        assert_eq!(
            [learnt.span.distributions.get(0), learnt.span.distributions.get(1)],
            expected
        );
        // Position 2 predicts the last token of the chain of thought, position 3 the first of the answer: 1 and 3 of mean 2.
        assert_eq!(learnt.weights, [0.5, 1.5]);
    }

    #[test]
    fn what_the_student_chooses_is_all_laid_out_with_the_weight_of_what_is_chosen() {
        let (span, bounds) = span([0.1; 4]);
        let supervision = Supervision {
            positions: Positions::StudentEntropy(half()),
            weights: PositionWeights::Rising,
        };
        let learnt = LearntSpan::new(span, bounds, supervision);
        assert_eq!((learnt.span.positions.len(), learnt.learnt(), learnt.fed), (4, 2, 5));
        // ¼, ¾, 5/4 and 7/4 of the mean, of which two positions will be left.
        assert_eq!(learnt.weights, [0.125, 0.375, 0.625, 0.875]);
    }

    #[test]
    fn without_a_policy_all_positions_weigh_the_same() {
        let (span, bounds) = span([0.1; 4]);
        let learnt = LearntSpan::new(span.clone(), bounds, Supervision::default());
        assert_eq!((&learnt.span, learnt.learnt(), learnt.fed), (&span, 4, 5));
        assert_eq!(learnt.weights, [1.0; 4]);
    }
}
