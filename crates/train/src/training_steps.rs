//! The steps of a run, and the samples of each.

use leadspan_cache::{CacheError, Reader};
use leadspan_sequence::{Split, fed_tokens};

use crate::{TrainError, TrainSettings, flops::TrainingFlops, order::epoch_order, replay::Replay};

/// The steps of a run, and the samples of each. They depend on the cache's corpus and the settings alone.
pub(crate) struct TrainingSteps {
    pub(crate) samples: Vec<u32>,
    pub(crate) samples_left_out: usize,
    pub(crate) positions: u64,
    /// The number of distilled samples of a step.
    batch_samples: usize,
    epochs: usize,
    seed: u64,
    /// Optimizer steps of the run.
    steps: usize,
}

impl TrainingSteps {
    /// # Errors
    ///
    /// [`TrainError::NothingToLearn`] if no training sample has a supervised position.
    pub(crate) fn new(
        reader: &Reader,
        settings: &TrainSettings,
        replay: Option<&Replay>,
        flops: &TrainingFlops,
    ) -> Result<Self, TrainError> {
        let mut steps = Self {
            samples: Vec::new(),
            samples_left_out: 0,
            positions: 0,
            batch_samples: settings.batch_samples - replay.map_or(0, |replay| replay.step_samples),
            epochs: settings.epochs,
            seed: settings.seed,
            steps: 0,
        };
        for sample in reader.corpus().of_split(Split::Train) {
            match reader.position_count(sample)? {
                0 => steps.samples_left_out += 1,
                positions => {
                    steps.samples.push(sample);
                    steps.positions += positions as u64;
                }
            }
        }
        if steps.samples.is_empty() {
            return Err(TrainError::NothingToLearn {
                proportion: settings.lead_span_proportion.to_string(),
                sections: settings.supervised_sections.to_string(),
            });
        }
        steps.steps = steps.epochs * steps.steps_an_epoch();
        if let Some(max_flops) = settings.max_flops {
            steps.steps = steps_within(max_flops, &steps.flops_of_steps(reader, replay, flops)?);
        }
        Ok(steps)
    }

    /// The operations of each step, from the lengths in the prepared corpus.
    fn flops_of_steps(
        &self,
        reader: &Reader,
        replay: Option<&Replay>,
        flops: &TrainingFlops,
    ) -> Result<Vec<u64>, CacheError> {
        let of = |reader: &Reader, samples: &[u32]| -> Result<u64, CacheError> {
            let of_sample = |&sample: &u32| {
                let positions = reader.position_count(sample)?;
                let sample = reader.corpus().sample(sample as usize);
                let tokens = fed_tokens(reader.coverage().positions(sample).last());
                Ok(flops.sample(tokens, positions))
            };
            samples.iter().map(of_sample).sum()
        };
        let mut replayed = replay.map(|replay| (replay, replay.batches(0)));
        let steps = self.batches(0).map(|samples| {
            let more = replayed
                .as_mut()
                .and_then(|(replay, batches)| Some((replay, batches.next()?)));
            let more = more.map_or(Ok(0), |(replay, samples)| of(&replay.reader, &samples))?;
            Ok(of(reader, &samples)? + more)
        });
        steps.collect()
    }

    /// Optimizer steps of the run.
    pub(crate) fn count(&self) -> usize {
        self.steps
    }

    /// The epoch of a step, both counted from 1.
    pub(crate) fn epoch_of(&self, step: usize) -> usize {
        (step - 1) / self.steps_an_epoch() + 1
    }

    /// Whether the run is between two epochs, or at its end, after `done` steps.
    pub(crate) fn is_between_epochs(&self, done: usize) -> bool {
        done.is_multiple_of(self.steps_an_epoch()) || done == self.steps
    }

    /// The samples of each step that is left after `done` steps.
    pub(crate) fn batches(&self, done: usize) -> impl Iterator<Item = Vec<u32>> + '_ {
        let begun = done / self.steps_an_epoch();
        let batches = (begun..self.epochs).flat_map(move |epoch| {
            let order = epoch_order(&self.samples, self.seed, epoch);
            let starts = (0..order.len()).step_by(self.batch_samples);
            starts.map(move |start| order[start..].iter().take(self.batch_samples).copied().collect())
        });
        let left = self.steps.saturating_sub(done);
        batches.skip(done % self.steps_an_epoch()).take(left)
    }

    fn steps_an_epoch(&self) -> usize {
        self.samples.len().div_ceil(self.batch_samples)
    }
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
mod tests {
    use super::*;

    #[test]
    fn what_is_left_after_any_step_is_the_rest_of_the_whole_order() {
        let steps = TrainingSteps {
            samples: (0..11).collect(),
            samples_left_out: 0,
            positions: 0,
            batch_samples: 4,
            epochs: 3,
            seed: 5,
            steps: 9,
        };
        let whole: Vec<Vec<u32>> = steps.batches(0).collect();
        assert_eq!((whole.len(), steps.count()), (9, 9));
        assert_eq!(
            whole.iter().map(Vec::len).collect::<Vec<_>>(),
            [4, 4, 3, 4, 4, 3, 4, 4, 3]
        );
        assert_ne!(whole[..3], whole[3..6]);
        for done in 0..=9 {
            assert_eq!(
                steps.batches(done).collect::<Vec<_>>(),
                whole[done..],
                "after {done} steps"
            );
            assert_eq!(steps.is_between_epochs(done), done % 3 == 0);
        }
        assert_eq!([1, 3, 4, 9].map(|step| steps.epoch_of(step)), [1, 1, 2, 3]);
        let shorter = TrainingSteps { steps: 5, ..steps };
        for done in 0..=5 {
            assert_eq!(shorter.batches(done).collect::<Vec<_>>(), whole[done..5]);
        }
        // The end of a run is measured even in the middle of an epoch.
        assert_eq!(
            [0, 3, 4, 5].map(|done| shorter.is_between_epochs(done)),
            [true, true, false, true]
        );
    }

    #[test]
    fn no_step_begins_once_the_count_has_reached_the_allowance() {
        for (max_flops, steps) in [
            (0.0, 0),
            (0.5, 1),
            (10.0, 1),
            (10.5, 2),
            (30.0, 2),
            (31.0, 3),
            (60.0, 3),
            (61.0, 3),
        ] {
            assert_eq!(steps_within(max_flops, &[10, 20, 30]), steps, "{max_flops}");
        }
    }
}
