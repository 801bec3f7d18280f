//! The steps of a run, and the samples of each.

use leadspan_cache::{CacheError, Reader};
use leadspan_sequence::{LeadSpanProportion, SectionBounds, SectionSet, Split, fed_tokens, positions_of_kept};

use crate::{
    LeadSpan, PolicyError, Positions, TrainError, TrainSettings, batches::KeptSample, flops::TrainingFlops,
    order::epoch_order, policies::Meeting, replay::Replay, settings::Length,
};

/// The steps of a run, and the samples of each. They depend on the cache's corpus and the settings alone.
pub(crate) struct TrainingSteps {
    pub(crate) samples: Vec<u32>,
    pub(crate) samples_left_out: usize,
    /// The positions that are learnt in an epoch, in the mean over all epochs.
    pub(crate) positions: u64,
    /// What the lead spans of `samples` depend on, in the same order.
    lengths: Vec<Lengths>,
    lead_spans: LeadSpans,
    /// The number of distilled samples of a step.
    batch_samples: usize,
    seed: u64,
    /// How many places the samples take in the order of all epochs; an epoch that begins may be beyond them.
    places: u64,
    /// How many steps there are before each epoch, and before the end of the last one.
    epoch_starts: Vec<usize>,
    /// Optimizer steps of the run.
    steps: usize,
}

/// A run of so many steps has none if, once its lead spans no longer grow, so many epochs in a row have no position to learn.
const MOST_EMPTY: usize = 1000;

/// What the lead span of a sample depends on.
#[derive(Clone, Copy)]
struct Lengths {
    bounds: SectionBounds,
    /// The number of tokens to keep that is stored with the sample.
    stored: Option<u32>,
}

/// The policies by which positions of samples are learnt.
struct LeadSpans {
    policy: LeadSpan,
    constant: LeadSpanProportion,
    sections: SectionSet,
    positions: Positions,
}

impl TrainingSteps {
    /// # Errors
    ///
    /// [`TrainError::NothingToLearn`] if no training sample has a supervised position, or too few have one to fill the steps; [`PolicyError::NoLeadSpanColumn`],
    /// [`PolicyError::OtherLeadSpanColumn`] and [`PolicyError::LeadSpanNotCaptured`] if the lead spans are in a column that the
    /// cache does not have, or that asks for more than it holds.
    pub(crate) fn new(
        reader: &Reader,
        settings: &TrainSettings,
        replay: Option<&Replay>,
        flops: &TrainingFlops,
    ) -> Result<Self, TrainError> {
        check_column(reader, settings)?;
        let mut steps = Self {
            samples: Vec::new(),
            samples_left_out: 0,
            positions: 0,
            lengths: Vec::new(),
            lead_spans: LeadSpans::of(settings),
            batch_samples: settings.batch_samples - replay.map_or(0, |replay| replay.step_samples),
            seed: settings.seed,
            places: 0,
            epoch_starts: Vec::new(),
            steps: 0,
        };
        for sample in reader.corpus().of_split(Split::Train) {
            let lengths = Lengths {
                bounds: reader.corpus().sample(sample as usize).bounds,
                stored: reader.corpus().lead_span_tokens(sample as usize),
            };
            if reader.position_count(sample)? == 0 || steps.lead_spans.never_reach(lengths) {
                steps.samples_left_out += 1;
                continue;
            }
            steps.samples.push(sample);
            steps.lengths.push(lengths);
        }
        steps.draw_epochs(settings.length());
        if steps.steps == 0 {
            return Err(TrainError::NothingToLearn {
                lead_span: settings.shown_lead_span(),
                sections: settings.supervised_sections.to_string(),
            });
        }
        if let Some(max_flops) = settings.max_flops {
            steps.steps = steps_within(max_flops, &steps.flops_of_steps(replay, flops)?);
        }
        Ok(steps)
    }

    /// Draws the epochs of a run of this length, and counts their steps and positions. A run of so many steps has none if they
    /// cannot be filled.
    fn draw_epochs(&mut self, length: Length) {
        self.places = self.places_of(length);
        self.epoch_starts = vec![0];
        let (mut positions, mut counted, mut empty) = (0, None, 0);
        while !self.reaches(length) && empty < MOST_EMPTY {
            let epoch = self.epochs();
            let (samples, of_epoch) = counted.unwrap_or_else(|| {
                let order = self.order(epoch);
                (
                    order.len(),
                    order.iter().map(|&kept| self.learnt(kept) as u64).sum::<u64>(),
                )
            });
            if self.lead_spans.policy == LeadSpan::Constant {
                counted = Some((samples, of_epoch));
            }
            positions += of_epoch;
            // A lead span that grows has its largest beyond the places.
            let is_beyond = epoch as u64 * self.samples.len() as u64 >= self.places;
            empty = if samples == 0 && is_beyond { empty + 1 } else { 0 };
            let start = self.epoch_starts[epoch] + samples.div_ceil(self.batch_samples);
            self.epoch_starts.push(start);
        }
        self.positions = positions / self.epochs().max(1) as u64;
        self.steps = match length {
            Length::Epochs(_) => self.last_start(),
            Length::Steps(steps) if self.reaches(length) => steps,
            Length::Steps(_) => 0,
        };
    }

    /// Whether the epochs so far are enough.
    fn reaches(&self, length: Length) -> bool {
        match length {
            Length::Epochs(epochs) => self.epochs() == epochs,
            Length::Steps(steps) => self.last_start() >= steps,
        }
    }

    /// How many steps all epochs have.
    fn last_start(&self) -> usize {
        self.epoch_starts.last().copied().unwrap_or_default()
    }

    /// How many places the samples take in a run of this length if none of them is passed over.
    fn places_of(&self, length: Length) -> u64 {
        let count = self.samples.len() as u64;
        match length {
            Length::Epochs(epochs) => epochs as u64 * count,
            Length::Steps(steps) => {
                let steps_of_epoch = count.div_ceil(self.batch_samples as u64).max(1);
                let (epochs, more) = (steps as u64 / steps_of_epoch, steps as u64 % steps_of_epoch);
                epochs * count + (more * self.batch_samples as u64).min(count)
            }
        }
    }

    /// The samples of an epoch in their order, without those that have no supervised position this time.
    fn order(&self, epoch: usize) -> Vec<KeptSample> {
        let count = self.samples.len() as u64;
        let kept = |(place, sample): (usize, u32)| {
            let Lengths { bounds, stored } = self.lengths_of(sample);
            let tokens = self.lead_spans.kept(
                self.seed,
                Meeting {
                    sample,
                    tokens: bounds.tokens() as usize,
                    stored,
                    epoch,
                    place: epoch as u64 * count + place as u64,
                    places: self.places,
                },
            );
            KeptSample { sample, tokens }
        };
        let order = epoch_order(&self.samples, self.seed, epoch).into_iter();
        let order = order.enumerate().map(kept);
        if self.lead_spans.policy == LeadSpan::Constant {
            // All of them have one.
            return order.collect();
        }
        order.filter(|&kept| self.supervised(kept).next().is_some()).collect()
    }

    /// The supervised positions of a sample, ascending.
    fn supervised(&self, kept: KeptSample) -> impl Iterator<Item = u32> + use<> {
        let Lengths { bounds, .. } = self.lengths_of(kept.sample);
        let tokens = kept.tokens.min(bounds.tokens() as usize) as u32;
        positions_of_kept(bounds, tokens, self.lead_spans.sections)
    }

    /// How many positions of a sample are learnt.
    fn learnt(&self, kept: KeptSample) -> usize {
        self.lead_spans.positions.learnt(self.supervised(kept).count())
    }

    fn lengths_of(&self, sample: u32) -> Lengths {
        let place = self.samples.binary_search(&sample);
        self.lengths[place.expect("the samples of a run ascend")]
    }

    /// The operations of each step, from the lengths in the prepared corpus.
    fn flops_of_steps(&self, replay: Option<&Replay>, flops: &TrainingFlops) -> Result<Vec<u64>, CacheError> {
        let distilled = |&kept: &KeptSample| {
            let (count, last) = self
                .supervised(kept)
                .fold((0, None), |(count, _), position| (count + 1, Some(position)));
            let positions = self.lead_spans.positions;
            let measured = positions.measure().map_or(0, |_| count);
            flops.sample(fed_tokens(last), positions.learnt(count), measured)
        };
        let replayed_sample = |reader: &Reader, &sample: &u32| {
            let positions = reader.position_count(sample)?;
            let sample = reader.corpus().sample(sample as usize);
            let tokens = fed_tokens(reader.coverage().positions(sample).last());
            Ok::<u64, CacheError>(flops.sample(tokens, positions, 0))
        };
        let mut replayed = replay.map(|replay| (replay, replay.batches(0)));
        let steps = self.batches(0).map(|samples| {
            let more = replayed
                .as_mut()
                .and_then(|(replay, batches)| Some((replay, batches.next()?)));
            let more = more.map_or(Ok(0), |(replay, samples)| {
                samples
                    .iter()
                    .map(|sample| replayed_sample(&replay.reader, sample))
                    .sum()
            })?;
            Ok(samples.iter().map(distilled).sum::<u64>() + more)
        });
        steps.collect()
    }

    /// Optimizer steps of the run.
    pub(crate) fn count(&self) -> usize {
        self.steps
    }

    fn epochs(&self) -> usize {
        self.epoch_starts.len() - 1
    }

    /// The epoch of a step, both counted from 1.
    pub(crate) fn epoch_of(&self, step: usize) -> usize {
        self.epoch_starts[..self.epochs()].partition_point(|&start| start < step)
    }

    /// Whether the run is between two epochs, or at its end, after `done` steps.
    pub(crate) fn is_between_epochs(&self, done: usize) -> bool {
        self.epoch_starts.binary_search(&done).is_ok() || done == self.steps
    }

    /// The samples of each step that is left after `done` steps.
    pub(crate) fn batches(&self, done: usize) -> impl Iterator<Item = Vec<KeptSample>> + '_ {
        let begun = self.epoch_of(done + 1) - 1;
        let batches = (begun..self.epochs()).flat_map(move |epoch| {
            let order = self.order(epoch);
            let starts = (0..order.len()).step_by(self.batch_samples);
            starts.map(move |start| order[start..].iter().take(self.batch_samples).copied().collect())
        });
        let left = self.steps.saturating_sub(done);
        batches.skip(done - self.epoch_starts[begun]).take(left)
    }
}

impl LeadSpans {
    fn of(settings: &TrainSettings) -> Self {
        Self {
            policy: settings.lead_span.clone(),
            constant: settings.lead_span_proportion,
            sections: settings.supervised_sections,
            positions: settings.positions,
        }
    }

    fn kept(&self, seed: u64, meeting: Meeting) -> usize {
        self.policy.kept(self.constant, seed, meeting)
    }

    /// Whether the stored number of tokens is too small for a supervised position.
    fn never_reach(&self, Lengths { bounds, stored }: Lengths) -> bool {
        let kept = stored.filter(|_| matches!(self.policy, LeadSpan::Column(_)));
        kept.is_some_and(|kept| positions_of_kept(bounds, kept, self.sections).next().is_none())
    }
}

/// Refuses lead spans in a column that the cache does not have, or that asks for more than the cache holds.
fn check_column(reader: &Reader, settings: &TrainSettings) -> Result<(), PolicyError> {
    let LeadSpan::Column(asked) = &settings.lead_span else {
        return Ok(());
    };
    let corpus = reader.corpus();
    match corpus.lead_span_column() {
        None => return Err(PolicyError::NoLeadSpanColumn { asked: asked.clone() }),
        Some(stored) if stored != asked => {
            return Err(PolicyError::OtherLeadSpanColumn {
                asked: asked.clone(),
                stored: stored.to_owned(),
            });
        }
        Some(_) => {}
    }
    if !reader.has_distributions() {
        return Ok(());
    }
    for index in corpus.of_split(Split::Train) {
        let sample = corpus.sample(index as usize);
        let kept = corpus
            .lead_span_tokens(index as usize)
            .map_or(0, |kept| kept as usize)
            .min(sample.token_count());
        let captured = reader.coverage().proportion.kept(sample.token_count());
        if kept > captured {
            return Err(PolicyError::LeadSpanNotCaptured {
                sample: sample.id.to_owned(),
                kept,
                captured,
                proportion: reader.coverage().proportion.to_string(),
            });
        }
    }
    Ok(())
}

/// How many steps begin before the count of operations has reached `max_flops`.
fn steps_within(max_flops: f64, flops_of_steps: &[u64]) -> usize {
    let mut counted = 0u64;
    let before = flops_of_steps.iter().take_while(|&&flops| {
        let begins = (counted as f64) < max_flops;
        counted = counted.saturating_add(flops);
        begins
    });
    before.count()
}

#[cfg(test)]
mod tests;
