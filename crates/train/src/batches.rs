//! From cached samples to the tensors of a step, decoded ahead by a thread of their own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use leadspan_cache::{CacheError, Reader, Span};
use leadspan_model::Packed;
use rayon::prelude::*;

use crate::{
    objective::{Distillation, Rows},
    order::micro_batches,
    plan::Plan,
    replay::Replay,
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
    /// What is replayed beside them.
    pub(crate) replayed: Option<Replayed>,
    /// Bytes of blocks that were read for them, as they are stored.
    pub(crate) cache_bytes_read: u64,
}

/// The samples that are replayed in one optimizer step.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// Their indices in their own corpus.
    pub(crate) samples: Vec<u32>,
    /// Their forward passes.
    pub(crate) micro_batches: Vec<MicroBatch>,
    /// How much of the weight of all positions they have.
    pub(crate) share: f64,
}

/// How a sample is learnt from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As the settings say.
    Distilled,
    /// By cross-entropy alone.
    Replayed,
}

impl Step {
    /// All forward passes, and what kind of samples goes through each.
    pub(crate) fn passes(&self) -> impl Iterator<Item = (&MicroBatch, Kind)> {
        let replayed = self.replayed.iter().flat_map(|replayed| &replayed.micro_batches);
        let distilled = self.micro_batches.iter().map(|pass| (pass, Kind::Distilled));
        distilled.chain(replayed.map(|pass| (pass, Kind::Replayed)))
    }
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
        let (spans, cache_bytes_read) = spans(reader, samples)?;
        Ok(Step {
            samples: samples.to_vec(),
            micro_batches: self.micro_batches(&spans, self.distillation, &Weights::of(self.normalization, &[&spans])),
            replayed: None,
            cache_bytes_read,
        })
    }

    /// Reads `samples` with those of `replayed` beside them, and lays them out in passes of their own.
    pub(crate) fn mixed_step(
        &self,
        reader: &Reader,
        samples: &[u32],
        replay: &Replay,
        replayed: Vec<u32>,
    ) -> Result<Step, CacheError> {
        let ((spans, cache_bytes_read), (others, _)) = (spans(reader, samples)?, spans(&replay.reader, &replayed)?);
        let weights = Weights::of(self.normalization, &[&spans, &others]);
        Ok(Step {
            samples: samples.to_vec(),
            micro_batches: self.micro_batches(&spans, self.distillation, &weights),
            replayed: Some(Replayed {
                samples: replayed,
                micro_batches: self.micro_batches(&others, Distillation::default(), &weights),
                share: weights.share(&others),
            }),
            cache_bytes_read,
        })
    }

    fn micro_batches(&self, spans: &[Span], distillation: Distillation, weights: &Weights) -> Vec<MicroBatch> {
        let spans: Vec<&Span> = spans.iter().filter(|span| !span.positions.is_empty()).collect();
        let lengths: Vec<usize> = spans.iter().map(|span| fed_tokens(span)).collect();
        let passes = micro_batches(&lengths, self.micro_batch_tokens).into_iter();
        let laid_out = passes.map(|items| {
            let members: Vec<&Span> = items.into_iter().map(|item| spans[item]).collect();
            MicroBatch::new(&members, &|span| weights.position(span), distillation, self.vocabulary)
        });
        laid_out.collect()
    }

    /// Reads the steps of `plan` one after the other into `steps`, until the other side hangs up or one fails; `done` steps
    /// were made before.
    pub(crate) fn read_ahead(
        &self,
        reader: &Reader,
        plan: &Plan,
        replay: Option<&Replay>,
        done: usize,
        steps: &SyncSender<ReadStep>,
    ) {
        let mut replayed = replay.map(|replay| (replay, replay.batches(done)));
        for samples in plan.batches(done) {
            let more = replayed
                .as_mut()
                .and_then(|(replay, batches)| Some((*replay, batches.next()?)));
            let step = match more {
                None => self.step(reader, &samples),
                Some((replay, more)) => self.mixed_step(reader, &samples, replay, more),
            };
            let failed = step.is_err();
            if steps.send(step).is_err() || failed {
                return;
            }
        }
    }
}

/// Reads samples, and tells how many bytes of blocks that took; of several that cannot be read, the error is that of the first,
/// whatever thread met it.
fn spans(reader: &Reader, samples: &[u32]) -> Result<(Vec<Span>, u64), CacheError> {
    let read = samples.par_iter().map(|&sample| reader.span_and_bytes(sample));
    let read: Vec<(Span, u64)> = read.collect::<Vec<_>>().into_iter().collect::<Result<_, _>>()?;
    let bytes = read.iter().map(|(_, bytes)| bytes).sum();
    Ok((read.into_iter().map(|(span, _)| span).collect(), bytes))
}

/// What each position of a step weighs.
struct Weights {
    normalization: Option<Normalization>,
    positions: usize,
    samples: usize,
}

impl Weights {
    /// Of a step that consists of these samples, of one kind or more.
    fn of(normalization: Option<Normalization>, kinds: &[&[Span]]) -> Self {
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

    /// What each position of one of its samples weighs.
    fn position(&self, span: &Span) -> f64 {
        match self.normalization {
            None => 1.0,
            Some(Normalization::Token) => 1.0 / self.positions as f64,
            Some(Normalization::Sequence) => 1.0 / (self.samples * span.positions.len()) as f64,
        }
    }

    /// How much of the weight of all positions these samples have.
    fn share(&self, spans: &[Span]) -> f64 {
        let Self { positions, samples, .. } = Self::of(self.normalization, &[spans]);
        match self.normalization {
            Some(Normalization::Sequence) => samples as f64 / self.samples as f64,
            _ => positions as f64 / self.positions as f64,
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

    #[test]
    fn positions_of_both_kinds_are_weighed_alike() {
        // Two samples with 2 and 1 positions are distilled, one with 3 and one with none are replayed.
        let distilled = [span(&[10, 11, 12, 13], &[1, 2]), span(&[20, 21, 22], &[0])];
        let replayed = [span(&[30, 31, 32, 33], &[0, 1, 2]), span(&[40], &[])];
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
