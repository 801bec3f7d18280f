//! From cached samples to the tensors of a step, decoded ahead by a thread of their own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use leadspan_cache::{CacheError, Reader, Span};
use leadspan_model::Packed;
use rayon::prelude::*;

use crate::{
    objective::{Distillation, Rows},
    order::micro_batches,
    settings::Normalization,
};

/// Samples that go through the student together.
#[derive(Debug)]
pub struct MicroBatch {
    /// Their tokens, up to each one's last supervised position.
    pub packed: Packed,
    /// The supervised positions as indices into the packed tokens.
    pub places: Vec<u32>,
    /// Targets, weights and entries at those places.
    pub rows: Rows,
}

impl MicroBatch {
    /// Lays out `spans`, each of whose positions weighs as much as `weight` says, for a student with `vocabulary` tokens.
    pub fn new(spans: &[&Span], weight: &dyn Fn(&Span) -> f64, distillation: Distillation, vocabulary: usize) -> Self {
        // Tokens behind the last supervised position change nothing before it, and stay out.
        let packed = Packed::new(spans.iter().map(|span| &span.tokens[..fed_tokens(span)]));
        let (mut places, mut rows) = (Vec::new(), Rows::new(distillation));
        for (span, &start) in spans.iter().zip(packed.edges()) {
            places.extend(span.positions.iter().map(|&position| start as u32 + position));
            let targets: Vec<u32> = span
                .positions
                .iter()
                .map(|&position| span.tokens[position as usize + 1])
                .collect();
            rows.push_sample(&targets, &span.distributions, weight(span) as f32, vocabulary);
        }
        Self { packed, places, rows }
    }

    /// How many tokens go through the student.
    pub fn token_count(&self) -> usize {
        self.packed.tokens().len()
    }
}

/// The samples of one optimizer step.
#[derive(Debug)]
pub(crate) struct Step {
    /// Their indices in the prepared corpus.
    pub(crate) samples: Vec<u32>,
    /// Their forward passes.
    pub(crate) micro_batches: Vec<MicroBatch>,
}

/// A step as it was read, or why it could not be.
pub(crate) type ReadStep = Result<Step, CacheError>;

/// How samples become batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// Tokens of one pass.
    pub(crate) micro_batch_tokens: usize,
    /// What the loss is the mean of; `None` weighs every position 1.
    pub(crate) normalization: Option<Normalization>,
    /// What is learnt from the teacher.
    pub(crate) distillation: Distillation,
    /// Rows of the student's head.
    pub(crate) vocabulary: usize,
}

impl Batching {
    /// Reads `samples` and lays them out.
    pub(crate) fn step(&self, reader: &Reader, samples: &[u32]) -> Result<Step, CacheError> {
        // Collected before failing, so that the error is that of the first sample whatever thread met it.
        let spans: Vec<Span> = samples
            .par_iter()
            .map(|&sample| reader.span(sample))
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<_, _>>()?;
        let positions: usize = spans.iter().map(|span| span.positions.len()).sum();
        let learning = spans.iter().filter(|span| !span.positions.is_empty()).count();
        let weight = |span: &Span| match self.normalization {
            None => 1.0,
            Some(Normalization::Token) => 1.0 / positions as f64,
            Some(Normalization::Sequence) => 1.0 / (learning * span.positions.len()) as f64,
        };
        let spans: Vec<&Span> = spans.iter().filter(|span| !span.positions.is_empty()).collect();
        let lengths: Vec<usize> = spans.iter().map(|span| fed_tokens(span)).collect();
        let micro_batches = micro_batches(&lengths, self.micro_batch_tokens)
            .into_iter()
            .map(|items| {
                let members: Vec<&Span> = items.into_iter().map(|item| spans[item]).collect();
                MicroBatch::new(&members, &weight, self.distillation, self.vocabulary)
            })
            .collect();
        Ok(Step {
            samples: samples.to_vec(),
            micro_batches,
        })
    }

    /// Reads the steps of `plan` one after the other into `steps`, until the other side hangs up or one fails.
    pub(crate) fn read_ahead(
        &self,
        reader: &Reader,
        plan: impl Iterator<Item = Vec<u32>>,
        steps: &SyncSender<ReadStep>,
    ) {
        for samples in plan {
            let step = self.step(reader, &samples);
            let failed = step.is_err();
            if steps.send(step).is_err() || failed {
                return;
            }
        }
    }
}

/// Steps that may wait between the reading thread and the loop.
pub(crate) fn step_queue() -> (SyncSender<ReadStep>, Receiver<ReadStep>) {
    sync_channel(2)
}

/// How many of a span's tokens go through the student: those up to its last supervised position.
pub(crate) fn fed_tokens(span: &Span) -> usize {
    span.positions.last().map_or(0, |&position| position as usize + 1)
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
        // The last token of a sample is only a target, and so is what follows the last supervised position.
        assert_eq!(
            (batch.packed.tokens(), batch.packed.edges()),
            (&[10, 11, 12, 20][..], &[0, 3, 4][..])
        );
        assert_eq!(batch.token_count(), 4);
        assert_eq!(batch.places, [1, 2, 3]);
        assert_eq!(batch.rows.targets, [12, 13, 21]);
    }
}
