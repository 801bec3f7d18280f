//! The progress of a run. A checkpoint stores it beside the tensors, and the summary follows from it.

use serde::{Deserialize, Serialize};

use crate::{HeldOut, StepMetrics};

/// The progress of a run.
///
/// The number of steps determines the place in the data: each epoch's order depends on the seed and the epoch alone. There is
/// no other random state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunProgress {
    /// Optimizer steps done.
    pub(crate) step: usize,
    /// Tokens through the student, padding left out.
    pub(crate) tokens: u64,
    /// Supervised positions learnt from.
    pub(crate) positions: u64,
    /// Operations of the products of forward and backward.
    pub(crate) training_flops: u64,
    /// Stored bytes of the blocks that were read for the steps.
    pub(crate) cache_bytes_read: u64,
    /// Seconds of the steps, in all processes.
    pub(crate) seconds: f64,
    /// Of these, the seconds spent waiting for batches.
    pub(crate) waited_seconds: f64,
    /// Held-out losses before the first step.
    pub(crate) held_out_before: Option<HeldOut>,
    /// The newest held-out losses.
    pub(crate) held_out: Option<Measured>,
    /// The lowest held-out losses so far after an epoch or the last step.
    pub(crate) best: Option<Measured>,
    /// How often the held-out losses were measured since they were the lowest.
    #[serde(default)]
    pub(crate) measured_since_best: usize,
    /// Bytes of the metrics file up to here.
    pub(crate) metrics_bytes: u64,
}

/// Held-out losses after some step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Optimizer steps done.
    pub(crate) step: usize,
    /// The losses.
    pub(crate) held_out: HeldOut,
}

impl RunProgress {
    /// Counts a step that took `seconds`.
    pub(crate) fn add_step(&mut self, step: &StepMetrics, seconds: f64) {
        self.step = step.step;
        self.tokens += step.tokens as u64;
        self.positions += step.positions as u64;
        self.training_flops = step.training_flops;
        self.cache_bytes_read = step.cache_bytes_read;
        self.seconds += seconds;
        self.waited_seconds += step.waited_seconds;
    }

    /// Records what was measured after the steps so far; the student's loss is (1 − α)·CE + α·KL.
    pub(crate) fn add_held_out(&mut self, held_out: HeldOut, distillation_weight: f64) {
        let measured = Measured {
            step: self.step,
            held_out,
        };
        self.held_out = Some(measured);
        if self.step == 0 {
            self.held_out_before = Some(held_out);
            return;
        }
        let loss = |measured: &Measured| measured.held_out.loss(distillation_weight);
        // Of equal losses the first is the best; NaN never is.
        if loss(&measured).is_finite() && self.best.as_ref().is_none_or(|best| loss(&measured) < loss(best)) {
            self.best = Some(measured);
            self.measured_since_best = 0;
        } else {
            self.measured_since_best += 1;
        }
    }

    /// Whether the held-out losses have not fallen for `patience` measurements.
    pub(crate) fn has_exhausted(&self, patience: Option<usize>) -> bool {
        patience.is_some_and(|patience| self.measured_since_best >= patience)
    }

    /// Whether the current student has been measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.held_out.is_some_and(|measured| measured.step == self.step)
    }

    /// The step after which held-out losses were the lowest.
    pub(crate) fn best_step(&self) -> Option<usize> {
        self.best.map(|best| best.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_out(cross_entropy: f64, forward_kl: f64) -> HeldOut {
        HeldOut {
            cross_entropy,
            forward_kl: Some(forward_kl),
            soft_cross_entropy: None,
            top_1_agreement: None,
            positions: 1,
        }
    }

    #[test]
    fn the_best_is_the_first_of_the_lowest_losses_after_an_epoch() {
        let mut progress = RunProgress::default();
        // The untrained student does not count as the best.
        progress.add_held_out(held_out(0.1, 0.1), 0.5);
        assert_eq!((progress.best_step(), progress.is_measured()), (None, true));
        for (step, cross_entropy, forward_kl, best) in [
            (10, f64::NAN, 1.0, None),
            (20, 4.0, 2.0, Some(20)),
            (30, 5.0, 1.0, Some(20)),
            (40, 5.0, 0.5, Some(40)),
            (50, f64::INFINITY, 0.0, Some(40)),
            (60, 5.0, 0.6, Some(40)),
        ] {
            progress.step = step;
            assert!(!progress.is_measured());
            progress.add_held_out(held_out(cross_entropy, forward_kl), 0.5);
            assert_eq!(
                (progress.best_step(), progress.is_measured()),
                (best, true),
                "step {step}"
            );
        }
        assert_eq!(progress.held_out_before.unwrap().cross_entropy, 0.1);
        assert_eq!(progress.held_out.unwrap().held_out.forward_kl, Some(0.6));
        // Steps 50 and 60 were no better than step 40.
        assert_eq!(progress.measured_since_best, 2);
        let exhausted = [None, Some(1), Some(2), Some(3)].map(|patience| progress.has_exhausted(patience));
        assert_eq!(exhausted, [false, true, true, false]);
    }
}
