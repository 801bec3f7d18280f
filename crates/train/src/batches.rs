//! From cached samples to the forward passes of a step.

use leadspan_cache::{CacheError, Reader};
use rayon::prelude::*;

use crate::{
    MicroBatch, learnt_span::LearntSpan, objective::Distillation, order::micro_batches, policies::Supervision,
    replay::Replay, settings::Normalization, weights::Weights,
};

/// A sample of a step, and how many of its tokens are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptSample {
    /// Its index in the prepared corpus.
    pub(crate) sample: u32,
    /// The number of tokens; what is beyond the reader's lead span does not count.
    pub(crate) tokens: usize,
}

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
    /// Which positions are learnt, and what they weigh.
    pub(crate) supervision: Supervision,
    /// How many tokens the student's head has.
    pub(crate) vocabulary: usize,
}

impl Batching {
    /// Reads `samples` and lays them out.
    pub(crate) fn step(&self, reader: &Reader, samples: &[KeptSample]) -> Result<Step, CacheError> {
        let (spans, cache_bytes_read) = spans(reader, samples, self.supervision)?;
        let weights = Weights::of(self.normalization, &[&counts(&spans)]);
        Ok(Step {
            samples: samples.iter().map(|kept| kept.sample).collect(),
            parts: weights.parts(),
            micro_batches: self.micro_batches(&spans, self.distillation, &weights),
            replayed: None,
            cache_bytes_read,
        })
    }

    /// Reads as much of `samples` as `reader` holds and lays them out.
    pub(crate) fn whole(&self, reader: &Reader, samples: &[u32]) -> Result<Step, CacheError> {
        self.step(reader, &all_of(samples))
    }

    /// Reads `samples` with those of `replayed` beside them, and lays them out in passes of their own.
    pub(crate) fn mixed_step(
        &self,
        reader: &Reader,
        samples: &[KeptSample],
        replay: &Replay,
        replayed: Vec<u32>,
    ) -> Result<Step, CacheError> {
        let (read, cache_bytes_read) = spans(reader, samples, self.supervision)?;
        let (others, _) = spans(&replay.reader, &all_of(&replayed), Supervision::default())?;
        let (learnt, of_others) = (counts(&read), counts(&others));
        let weights = Weights::of(self.normalization, &[&learnt, &of_others]);
        Ok(Step {
            samples: samples.iter().map(|kept| kept.sample).collect(),
            parts: weights.parts(),
            micro_batches: self.micro_batches(&read, self.distillation, &weights),
            replayed: Some(Replayed {
                samples: replayed,
                micro_batches: self.micro_batches(&others, Distillation::default(), &weights),
                share: weights.share(&of_others),
            }),
            cache_bytes_read,
        })
    }

    fn micro_batches(&self, spans: &[LearntSpan], distillation: Distillation, weights: &Weights) -> Vec<MicroBatch> {
        let spans: Vec<&LearntSpan> = spans.iter().filter(|span| span.learnt() > 0).collect();
        let lengths: Vec<usize> = spans.iter().map(|span| span.fed).collect();
        let passes = micro_batches(&lengths, self.micro_batch_tokens).into_iter();
        let laid_out = passes.map(|items| {
            let members: Vec<&LearntSpan> = items.into_iter().map(|item| spans[item]).collect();
            MicroBatch::learnt(&members, weights, distillation, self.vocabulary)
        });
        laid_out.collect()
    }
}

/// Samples of which everything is kept that the reader's lead span holds.
fn all_of(samples: &[u32]) -> Vec<KeptSample> {
    let whole = |&sample: &u32| KeptSample {
        sample,
        tokens: usize::MAX,
    };
    samples.iter().map(whole).collect()
}

/// How many positions of each sample are learnt.
fn counts(spans: &[LearntSpan]) -> Vec<usize> {
    spans.iter().map(LearntSpan::learnt).collect()
}

/// Reads samples, and returns what is learnt of them and the bytes of blocks that were read. If several samples cannot be read,
/// the error is that of the first of them, whichever thread met it.
fn spans(
    reader: &Reader,
    samples: &[KeptSample],
    supervision: Supervision,
) -> Result<(Vec<LearntSpan>, u64), CacheError> {
    let read = samples.par_iter().map(|&KeptSample { sample, tokens }| {
        let (span, bytes) = reader.first_tokens(sample, tokens)?;
        let bounds = reader.corpus().sample(sample as usize).bounds;
        Ok((LearntSpan::new(span, bounds, supervision), bytes))
    });
    let read: Vec<Result<(LearntSpan, u64), CacheError>> = read.collect();
    let read: Vec<(LearntSpan, u64)> = read.into_iter().collect::<Result<_, _>>()?;
    let bytes = read.iter().map(|(_, bytes)| bytes).sum();
    Ok((read.into_iter().map(|(span, _)| span).collect(), bytes))
}
