//! Which samples are learnt from, in which steps.

use leadspan_cache::Reader;
use leadspan_sequence::Split;

use crate::{TrainError, TrainSettings, order::epoch_order, replay::Replay};

/// Which samples are learnt from, in which steps: a function of the cache's corpus, the settings and nothing else.
pub(crate) struct Plan {
    pub(crate) samples: Vec<u32>,
    pub(crate) samples_left_out: usize,
    pub(crate) positions: u64,
    /// Those of one step that are not replayed.
    batch_samples: usize,
    epochs: usize,
    seed: u64,
}

impl Plan {
    /// # Errors
    ///
    /// [`TrainError::NothingToLearn`] where no training sample has a supervised position.
    pub(crate) fn new(reader: &Reader, settings: &TrainSettings, replay: Option<&Replay>) -> Result<Self, TrainError> {
        let mut plan = Self {
            samples: Vec::new(),
            samples_left_out: 0,
            positions: 0,
            batch_samples: settings.batch_samples - replay.map_or(0, |replay| replay.step_samples),
            epochs: settings.epochs,
            seed: settings.seed,
        };
        for sample in reader.corpus().of_split(Split::Train) {
            match reader.position_count(sample)? {
                0 => plan.samples_left_out += 1,
                positions => {
                    plan.samples.push(sample);
                    plan.positions += positions as u64;
                }
            }
        }
        if plan.samples.is_empty() {
            return Err(TrainError::NothingToLearn {
                proportion: settings.lead_span_proportion.to_string(),
                sections: settings.supervised_sections.to_string(),
            });
        }
        Ok(plan)
    }

    /// Optimizer steps of the run.
    pub(crate) fn steps(&self) -> usize {
        self.epochs * self.steps_an_epoch()
    }

    /// The epoch of a step, both counted from 1.
    pub(crate) fn epoch_of(&self, step: usize) -> usize {
        (step - 1) / self.steps_an_epoch() + 1
    }

    /// Whether no epoch is under way after `done` steps.
    pub(crate) fn is_between_epochs(&self, done: usize) -> bool {
        done.is_multiple_of(self.steps_an_epoch())
    }

    /// The samples of every step that is left after `done` steps.
    pub(crate) fn batches(&self, done: usize) -> impl Iterator<Item = Vec<u32>> + '_ {
        let begun = done / self.steps_an_epoch();
        let batches = (begun..self.epochs).flat_map(|epoch| {
            let order = epoch_order(&self.samples, self.seed, epoch);
            order
                .chunks(self.batch_samples)
                .map(<[u32]>::to_vec)
                .collect::<Vec<_>>()
        });
        batches.skip(done % self.steps_an_epoch())
    }

    fn steps_an_epoch(&self) -> usize {
        self.samples.len().div_ceil(self.batch_samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_after_any_step_is_the_rest_of_the_whole_order() {
        let plan = Plan {
            samples: (0..11).collect(),
            samples_left_out: 0,
            positions: 0,
            batch_samples: 4,
            epochs: 3,
            seed: 5,
        };
        let whole: Vec<Vec<u32>> = plan.batches(0).collect();
        assert_eq!((whole.len(), plan.steps()), (9, 9));
        assert_eq!(
            whole.iter().map(Vec::len).collect::<Vec<_>>(),
            [4, 4, 3, 4, 4, 3, 4, 4, 3]
        );
        assert_ne!(whole[..3], whole[3..6]);
        for done in 0..=9 {
            assert_eq!(
                plan.batches(done).collect::<Vec<_>>(),
                whole[done..],
                "after {done} steps"
            );
            assert_eq!(plan.is_between_epochs(done), done % 3 == 0);
        }
        assert_eq!([1, 3, 4, 9].map(|step| plan.epoch_of(step)), [1, 1, 2, 3]);
    }
}
