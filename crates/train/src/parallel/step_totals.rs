//! The losses and counts of a step, over all processes.

use super::{
    error::ParallelError,
    team::{Place, Team},
};
use crate::{TrainError, objective::LossSums};

/// Sums over the passes of a step. The weights of both kinds of samples together sum to one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StepTotals {
    /// The losses of distilled samples.
    pub(crate) distilled: LossSums,
    /// Those of replayed samples.
    pub(crate) replayed: LossSums,
    /// The share of the replayed samples in the weight.
    pub(crate) replayed_share: f64,
    /// The counts.
    pub(crate) counts: StepCounts,
    /// The largest peak memory of a process, in bytes.
    pub(crate) peak_memory_bytes: u64,
}

/// The counts of a step's passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepCounts {
    /// Supervised positions, replayed ones included.
    pub(crate) positions: u64,
    /// Tokens through the student, replayed ones included.
    pub(crate) tokens: u64,
    /// Replayed positions.
    pub(crate) replay_positions: u64,
    /// Replayed tokens.
    pub(crate) replay_tokens: u64,
    /// Operations of the products of forward and backward.
    pub(crate) flops: u64,
    /// Stored bytes of the blocks that were read.
    pub(crate) cache_bytes_read: u64,
}

/// Words of the losses of one kind, and of everything.
const LOSSES: usize = 6;
const WORDS: usize = 2 * LOSSES + 8;

/// The part of the whole step's weight that each process has: its `parts` (positions, or samples) of those of all.
///
/// `None` if a process asks to stop.
///
/// # Errors
///
/// [`ParallelError::Failed`] if another process has failed.
pub(crate) fn factor(team: &Team<'_>, stops: bool, parts: usize) -> Result<Option<f64>, TrainError> {
    let all = team.exchange(Place::Share, &[u64::from(stops), parts as u64])?;
    if all.iter().any(|&[stops, _]| stops != 0) {
        return Ok(None);
    }
    let whole: u64 = all.iter().map(|&[_, parts]| parts).sum();
    Ok(Some(if team.is_alone() {
        1.0
    } else {
        parts as f64 / whole as f64
    }))
}

impl StepTotals {
    /// Adds up what each process has, its losses and its share times its `factor`, in the order of the processes.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Failed`] if another process has failed.
    pub(crate) fn over_all(self, team: &Team<'_>, factor: f64) -> Result<Self, TrainError> {
        let mine = Self {
            distilled: scaled(&self.distilled, factor),
            replayed: scaled(&self.replayed, factor),
            replayed_share: weighted(self.replayed_share, factor),
            ..self
        };
        if team.is_alone() {
            return Ok(mine);
        }
        let all = team.exchange(Place::Totals, &mine.words())?;
        let all = all.iter().map(Self::from_words);
        Ok(all.reduce(|sum, more| sum.plus(&more)).unwrap_or(mine))
    }

    fn plus(mut self, other: &Self) -> Self {
        self.distilled.add(&other.distilled);
        self.replayed.add(&other.replayed);
        self.replayed_share += other.replayed_share;
        let (counts, more) = (&mut self.counts, other.counts);
        counts.positions += more.positions;
        counts.tokens += more.tokens;
        counts.replay_positions += more.replay_positions;
        counts.replay_tokens += more.replay_tokens;
        counts.flops = counts.flops.saturating_add(more.flops);
        counts.cache_bytes_read += more.cache_bytes_read;
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self
    }

    fn words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        words[..LOSSES].copy_from_slice(&words_of(&self.distilled));
        words[LOSSES..2 * LOSSES].copy_from_slice(&words_of(&self.replayed));
        let counts = self.counts;
        words[2 * LOSSES..].copy_from_slice(&[
            self.replayed_share.to_bits(),
            counts.positions,
            counts.tokens,
            counts.replay_positions,
            counts.replay_tokens,
            counts.flops,
            counts.cache_bytes_read,
            self.peak_memory_bytes,
        ]);
        words
    }

    fn from_words(words: &[u64; WORDS]) -> Self {
        let losses = |begin: usize| losses_of(std::array::from_fn(|word| words[begin + word]));
        let rest: [u64; 8] = std::array::from_fn(|word| words[2 * LOSSES + word]);
        let [
            share,
            positions,
            tokens,
            replay_positions,
            replay_tokens,
            flops,
            cache_bytes_read,
            memory,
        ] = rest;
        Self {
            distilled: losses(0),
            replayed: losses(LOSSES),
            replayed_share: f64::from_bits(share),
            counts: StepCounts {
                positions,
                tokens,
                replay_positions,
                replay_tokens,
                flops,
                cache_bytes_read,
            },
            peak_memory_bytes: memory,
        }
    }
}

/// The losses of all processes together, in their order. `None` in place of losses: the process asks to stop.
///
/// Returns `None` if one does. `digest` is that of this process's student.
///
/// # Errors
///
/// [`ParallelError::Drifted`] if a process has another student than the first, and [`ParallelError::Failed`] if one has failed.
pub(crate) fn held_out_over_all(
    team: &Team<'_>,
    mine: Option<LossSums>,
    digest: u64,
) -> Result<Option<LossSums>, TrainError> {
    let mut words = [0; LOSSES + 2];
    words[..LOSSES].copy_from_slice(&words_of(&mine.unwrap_or_default()));
    (words[LOSSES], words[LOSSES + 1]) = (u64::from(mine.is_none()), digest);
    let all = team.exchange(Place::HeldOut, &words)?;
    if let Some(rank) = all.iter().position(|words| words[LOSSES + 1] != all[0][LOSSES + 1]) {
        let count = team.count();
        return Err(team.verdict(ParallelError::Drifted { rank, count }));
    }
    if all.iter().any(|words| words[LOSSES] != 0) {
        return Ok(None);
    }
    let losses = all
        .iter()
        .map(|words| losses_of(std::array::from_fn(|word| words[word])));
    Ok(losses.reduce(|mut sum, more| {
        sum.add(&more);
        sum
    }))
}

/// A number times a factor. A process without a part of the step has a factor of 0, and means over nothing.
fn weighted(number: f64, factor: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { number * factor }
}

fn scaled(sums: &LossSums, factor: f64) -> LossSums {
    LossSums::from_numbers(sums.numbers().map(|number| weighted(number, factor)))
}

fn words_of(sums: &LossSums) -> [u64; LOSSES] {
    sums.numbers().map(f64::to_bits)
}

fn losses_of(words: [u64; LOSSES]) -> LossSums {
    LossSums::from_numbers(words.map(f64::from_bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::{Alone, Processes as _, threads::together};

    fn totals(loss: f64) -> StepTotals {
        let losses = |loss: f64| LossSums {
            cross_entropy: loss,
            distillation: loss + 1.0,
            forward_kl: loss + 2.0,
            soft_cross_entropy: loss + 3.0,
            weight: 1.0,
            top_1_agreement: 0.5,
        };
        StepTotals {
            distilled: losses(loss),
            replayed: losses(loss + 0.25),
            replayed_share: 0.25,
            counts: StepCounts {
                positions: 1,
                tokens: 2,
                replay_positions: 3,
                replay_tokens: 4,
                flops: 5,
                cache_bytes_read: 6,
            },
            peak_memory_bytes: loss as u64,
        }
    }

    #[test]
    fn the_means_of_processes_weigh_as_much_as_their_parts() {
        // Parts of 1, 3 and none: factors of 1/4, 3/4 and 0. The third has no mean.
        let all = together(3, |processes| {
            let (team, rank) = (Team::new(processes), processes.rank());
            let mine = [totals(8.0), totals(4.0), totals(f64::NAN)][rank];
            let factor = factor(&team, false, [1, 3, 0][rank]).unwrap().unwrap();
            (factor, mine.over_all(&team, factor).unwrap())
        });
        assert_eq!(
            all.iter().map(|(factor, _)| *factor).collect::<Vec<_>>(),
            [0.25, 0.75, 0.0]
        );
        for (_, found) in all {
            // (8 + 3 · 4) / 4 = 5.
            assert_eq!(found.distilled, totals(5.0).distilled);
            assert_eq!(found.replayed.cross_entropy, 5.25);
            assert_eq!((found.replayed_share, found.peak_memory_bytes), (0.25, 8));
            let StepCounts {
                positions,
                tokens,
                replay_positions,
                replay_tokens,
                flops,
                cache_bytes_read,
            } = found.counts;
            let counts = [
                positions,
                tokens,
                replay_positions,
                replay_tokens,
                flops,
                cache_bytes_read,
            ];
            assert_eq!(counts, [3, 6, 9, 12, 15, 18]);
        }
    }

    #[test]
    fn a_process_alone_changes_no_bit_and_one_that_stops_stops_all() {
        let team = Team::new(&Alone);
        assert_eq!(factor(&team, false, 7).unwrap(), Some(1.0));
        assert_eq!(totals(0.1).over_all(&team, 1.0).unwrap(), totals(0.1));
        let stopped = together(2, |processes| {
            let team = Team::new(processes);
            let mine = (processes.rank() == 0).then(LossSums::default);
            let held_out = held_out_over_all(&team, mine, 5).unwrap();
            (factor(&team, processes.rank() == 1, 1).unwrap(), held_out)
        });
        assert_eq!(stopped, [(None, None), (None, None)]);
    }

    #[test]
    fn processes_with_different_students_are_refused() {
        let refused = together(2, |processes| {
            let team = Team::new(processes);
            let digest = processes.rank() as u64;
            held_out_over_all(&team, Some(LossSums::default()), digest)
                .unwrap_err()
                .to_string()
        });
        assert!(
            refused[0].contains("process 1 of 2 has other weights than process 0"),
            "{}",
            refused[0]
        );
        assert!(refused[1].contains("process 0 of 2 failed"), "{}", refused[1]);
    }
}
