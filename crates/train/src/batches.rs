//! From cached samples to the forward passes of a step.

use leadspan_cache::{CacheError, Reader, Span};
use leadspan_sequence::fed_tokens;
use rayon::prelude::*;

use crate::{
    MicroBatch, objective::Distillation, order::micro_batches, replay::Replay, settings::Normalization,
    weights::Weights,
};

/// The samples of one optimizer step, or the share of them that one of several processes takes.
#[derive(Debug)]
pub(crate) struct Step {
    /// The indices in the prepared corpus of all samples of the step.
    pub(crate) samples: Vec<u32>,
    /// What their weight is divided among: positions or samples, replayed ones included.
    pub(crate) parts: usize,
    /// Their forward passes.
    pub(crate) micro_batches: Vec<MicroBatch>,
    /// The samples that are replayed in the same step.
    pub(crate) replayed: Option<Replayed>,
    /// Stored bytes of the blocks that were read for them.
    pub(crate) cache_bytes_read: u64,
}

/// The samples that are replayed in one optimizer step.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The indices in their own corpus of all of them.
    pub(crate) samples: Vec<u32>,
    /// Their forward passes.
    pub(crate) micro_batches: Vec<MicroBatch>,
    /// Their share of the step's weight.
    pub(crate) share: f64,
}

/// The loss by which a sample is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By the objective of the settings.
    Distilled,
    /// By cross-entropy alone.
    Replayed,
}

impl Step {
    /// The same passes as a share of the step that has these samples.
    pub(crate) fn of_whole(mut self, samples: Vec<u32>, replayed: Option<Vec<u32>>) -> Self {
        self.samples = samples;
        if let (Some(mine), Some(all)) = (&mut self.replayed, replayed) {
            mine.samples = all;
        }
        self
    }

    /// All forward passes, each with the kind of its samples.
    pub(crate) fn passes(&self) -> impl Iterator<Item = (&MicroBatch, Kind)> {
        let replayed = self.replayed.iter().flat_map(|replayed| &replayed.micro_batches);
        let distilled = self.micro_batches.iter().map(|pass| (pass, Kind::Distilled));
        distilled.chain(replayed.map(|pass| (pass, Kind::Replayed)))
    }
}

/// How samples become batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// Tokens of one pass.
    pub(crate) micro_batch_tokens: usize,
    /// The normalisation of the loss; `None` gives every position the weight 1.
    pub(crate) normalization: Option<Normalization>,
    /// What is learnt from the teacher.
    pub(crate) distillation: Distillation,
    /// How many tokens the student's head has.
    pub(crate) vocabulary: usize,
}

impl Batching {
    /// Reads `samples` and lays them out.
    pub(crate) fn step(&self, reader: &Reader, samples: &[u32]) -> Result<Step, CacheError> {
        let (spans, cache_bytes_read) = spans(reader, samples)?;
        let weights = Weights::of(self.normalization, &[&spans]);
        Ok(Step {
            samples: samples.to_vec(),
            parts: weights.parts(),
            micro_batches: self.micro_batches(&spans, self.distillation, &weights),
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
            parts: weights.parts(),
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
        let lengths: Vec<usize> = spans
            .iter()
            .map(|span| fed_tokens(span.positions.last().copied()))
            .collect();
        let passes = micro_batches(&lengths, self.micro_batch_tokens).into_iter();
        let laid_out = passes.map(|items| {
            let members: Vec<&Span> = items.into_iter().map(|item| spans[item]).collect();
            MicroBatch::new(&members, &|span| weights.position(span), distillation, self.vocabulary)
        });
        laid_out.collect()
    }
}

/// Reads samples, and returns the bytes of blocks that were read. If several samples cannot be read, the error is that of
/// the first of them, whichever thread met it.
fn spans(reader: &Reader, samples: &[u32]) -> Result<(Vec<Span>, u64), CacheError> {
    let read = samples.par_iter().map(|&sample| reader.span_and_bytes(sample));
    let read: Vec<(Span, u64)> = read.collect::<Vec<_>>().into_iter().collect::<Result<_, _>>()?;
    let bytes = read.iter().map(|(_, bytes)| bytes).sum();
    Ok((read.into_iter().map(|(span, _)| span).collect(), bytes))
}
