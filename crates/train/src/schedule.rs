//! The learning rate over the steps of a run.

use std::f64::consts::PI;

/// Linear warm-up to the peak, then half a cosine down to zero.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    peak: f64,
    warmup_steps: usize,
    steps: usize,
}

impl Schedule {
    /// A schedule of `steps` steps, the first ⌈`warmup_share` · steps⌉ of which rise.
    pub fn new(peak: f64, warmup_share: f64, steps: usize) -> Self {
        let warmup_steps = ((steps as f64 * warmup_share).ceil() as usize).min(steps);
        Self {
            peak,
            warmup_steps,
            steps,
        }
    }

    /// The learning rate of step `step`, counted from 1.
    pub fn learning_rate(&self, step: usize) -> f64 {
        if step <= self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let falling = (self.steps - self.warmup_steps).max(1);
        let done = (step - self.warmup_steps - 1) as f64 / falling as f64;
        self.peak * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_linearly_and_falls_along_a_cosine() {
        let schedule = Schedule::new(2.0, 0.2, 10);
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

    #[test]
    fn extreme_warmups_are_fine() {
        assert!((Schedule::new(1.0, 0.0, 3).learning_rate(1) - 1.0).abs() < 1e-12);
        assert!((Schedule::new(1.0, 1.0, 4).learning_rate(4) - 1.0).abs() < 1e-12);
        assert!(Schedule::new(1.0, 0.1, 1).learning_rate(1) > 0.0);
    }
}
