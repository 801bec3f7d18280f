//! The learning rate over the steps of a run.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The form of the learning rate over the steps of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleForm {
    /// It rises in a line, and falls along half a cosine towards 0.
    #[default]
    Cosine,
    /// It rises in a line, and falls in a line towards 0, as `PyTorch`'s `LinearLR` from 1 to 0.
    Linear,
    /// It rises and falls along cosines, from 1/25 to 1/250,000 of the highest, as `PyTorch`'s `OneCycleLR`.
    ///
    /// Where `warmup_share` · steps is at most 1 there is no step to rise in, and the first step has the highest rate. `PyTorch` then
    /// has the highest rate before the first step and begins on the falling side; at exactly 1 it divides by zero.
    OneCycle,
}

/// The rate at the first step of `one_cycle`, relative to the highest: `PyTorch`'s default of `div_factor` is 25.
const FIRST: f64 = 1.0 / 25.0;
/// The rate at its last step, relative to the first: `PyTorch`'s default of `final_div_factor` is 1e4.
const LAST: f64 = 1e-4;

/// The learning rate of each step.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    form: ScheduleForm,
    peak: f64,
    warmup_share: f64,
    warmup_steps: usize,
    steps: usize,
}

impl Schedule {
    /// A schedule of `steps` steps, the first ⌈`warmup_share` · steps⌉ of which rise in a line. Of `one_cycle`, the place
    /// `warmup_share` · steps has the highest rate, which may lie between two steps.
    pub fn new(form: ScheduleForm, peak: f64, warmup_share: f64, steps: usize) -> Self {
        let warmup_steps = ((steps as f64 * warmup_share).ceil() as usize).min(steps);
        Self {
            form,
            peak,
            warmup_share,
            warmup_steps,
            steps,
        }
    }

    /// The learning rate of step `step`, counted from 1.
    pub fn learning_rate(&self, step: usize) -> f64 {
        if self.form == ScheduleForm::OneCycle {
            return self.one_cycle(step);
        }
        if step <= self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let falling = (self.steps - self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps - 1) as f64 / falling as f64).min(1.0);
        match self.form {
            ScheduleForm::Linear => self.peak * (1.0 - done),
            _ => self.peak * 0.5 * (1.0 + (PI * done).cos()),
        }
    }

    /// The rate goes along half a cosine from FIRST · peak at place 0 to the peak at place share · steps − 1, and along another
    /// one from there to FIRST · LAST · peak at the last place. Without a place to rise, it begins at the peak.
    fn one_cycle(&self, step: usize) -> f64 {
        // The last step may be asked for even if there is none.
        let (place, last) = (step.saturating_sub(1) as f64, self.steps.saturating_sub(1) as f64);
        let highest = (self.warmup_share * self.steps as f64 - 1.0).clamp(0.0, last);
        // Half a cosine between two rates.
        let along = |from: f64, to: f64, done: f64| to + 0.5 * (from - to) * (1.0 + (PI * done.min(1.0)).cos());
        if place < highest {
            self.peak * along(FIRST, 1.0, place / highest)
        } else if last > highest {
            self.peak * along(1.0, FIRST * LAST, (place - highest) / (last - highest))
        } else {
            self.peak
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ScheduleForm::{Cosine, Linear, OneCycle};

    #[test]
    fn the_rate_rises_linearly_and_falls_along_a_cosine() {
        let schedule = Schedule::new(Cosine, 2.0, 0.2, 10);
        let cosine = |done: f64| 1.0 + (PI * done).cos();
        for (step, rate) in [
            (1, 1.0),
            (2, 2.0),
            (3, 2.0),
            (4, cosine(0.125)),
            (7, cosine(0.5)),
            (10, cosine(0.875)),
        ] {
            assert!((schedule.learning_rate(step) - rate).abs() < 1e-12, "step {step}");
        }
    }

    /// `torch.optim.lr_scheduler.OneCycleLR(max_lr=2.0, total_steps, pct_start)` of version 2, and
    /// `LinearLR(start_factor=1.0, end_factor=0.0, total_iters=8)` after two steps of warm-up.
    #[test]
    fn the_other_forms_are_those_of_pytorch() {
        let cases: [(ScheduleForm, f64, &[f64]); 3] = [
            (
                OneCycle,
                0.3,
                &[
                    0.080_000_000_000_000_07,
                    1.04,
                    2.0,
                    1.900_969_264_026_947_3,
                    1.623_491_307_899_526_1,
                    1.222_524_043_872_578_6,
                    0.777_483_956_127_421_4,
                    0.376_516_692_100_473_95,
                    0.099_038_735_973_052_57,
                    8e-6,
                ],
            ),
            (
                OneCycle,
                0.5,
                &[
                    0.080_000_000_000_000_07,
                    1.519_999_999_999_999_8,
                    1.809_017_758_306_97,
                    0.690_988_241_693_03,
                    8e-6,
                ],
            ),
            (Linear, 0.2, &[1.0, 2.0, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25]),
        ];
        for (form, warmup_share, rates) in cases {
            let schedule = Schedule::new(form, 2.0, warmup_share, rates.len());
            for (step, rate) in (1..).zip(rates) {
                let found = schedule.learning_rate(step);
                assert!(
                    (found - rate).abs() < 1e-8,
                    "{form:?} {warmup_share}, step {step}: {found}"
                );
            }
        }
    }

    #[test]
    fn extreme_warmups_are_fine() {
        assert!((Schedule::new(Cosine, 1.0, 0.0, 3).learning_rate(1) - 1.0).abs() < 1e-12);
        assert!((Schedule::new(Cosine, 1.0, 1.0, 4).learning_rate(4) - 1.0).abs() < 1e-12);
        for form in [Cosine, Linear, OneCycle] {
            assert!(Schedule::new(form, 1.0, 0.1, 1).learning_rate(1) > 0.0);
            for warmup_share in [0.0, 0.01, 0.5, 1.0] {
                for steps in 0..5 {
                    let schedule = Schedule::new(form, 1.0, warmup_share, steps);
                    let rates = (1..=steps).map(|step| schedule.learning_rate(step));
                    assert!(
                        rates.into_iter().all(|rate| rate > 0.0 && rate <= 1.0),
                        "{form:?} {warmup_share} {steps}"
                    );
                }
            }
        }
        // Without a place to rise, the cycle begins at its highest. Of 5 steps and a share of 0.1, `PyTorch` begins at 0.969846.
        assert!((Schedule::new(OneCycle, 1.0, 0.1, 5).learning_rate(1) - 1.0).abs() < 1e-12);
        assert!((Schedule::new(OneCycle, 1.0, 0.0, 3).learning_rate(1) - 1.0).abs() < 1e-12);
        assert!((Schedule::new(OneCycle, 1.0, 1.0, 3).learning_rate(3) - 1.0).abs() < 1e-12);
    }
}
