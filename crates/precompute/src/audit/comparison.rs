//! The comparison of stored positions with what the teacher says about them. Pure.

use std::collections::BTreeSet;

use leadspan_distribution::Position;

use super::report::Audit;
use crate::teacher::Said;

/// What was found at the compared positions.
#[derive(Default)]
pub(super) struct Comparison {
    pub(super) divergences: Vec<f64>,
    errors: Vec<f64>,
    agreed: usize,
    retained: f64,
    largest_target_error: f64,
}

impl Comparison {
    /// Compares what the teacher says with a stored position. `target` is the token that follows.
    pub(super) fn add(&mut self, said: Said<'_>, target: u32, stored: &Position<'_>) {
        match said {
            Said::Logits(logits) => self.add_logits(logits, target, stored),
            Said::Entries(position) => self.add_entries(&position, stored),
        }
    }

    fn add_logits(&mut self, logits: &[f32], target: u32, stored: &Position<'_>) {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut masses: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - max).exp()).collect();
        let sum: f64 = masses.iter().sum();
        // A stored token beyond the vocabulary makes the divergence no number, which is no agreement.
        let logprob = |token: u32| {
            let logit = logits.get(token as usize).copied();
            logit.map_or(f64::NEG_INFINITY, |logit| f64::from(logit - max) - sum.ln())
        };
        let (mut divergence, mut retained) = (0.0, 0.0);
        for (&token, &stored) in stored.token_ids.iter().zip(stored.logprobs) {
            let exact = logprob(token);
            divergence += exact.exp() * (exact - f64::from(stored));
            retained += exact.exp();
            self.errors.push((exact - f64::from(stored)).abs());
            if let Some(mass) = masses.get_mut(token as usize) {
                *mass = 0.0;
            }
        }
        // Summed over what is left, never as one less the rest.
        let tail = masses.iter().sum::<f64>() / sum;
        if tail > 0.0 {
            divergence += tail * (tail.ln() - f64::from(stored.tail_logprob));
        }
        self.divergences.push(divergence);
        self.retained += retained;
        let best = logits.iter().position(|&logit| logit == max);
        self.agreed += usize::from(stored.token_ids.first().map(|&token| token as usize) == best);
        let target_error = (logprob(target) - f64::from(stored.target_logprob)).abs();
        self.largest_target_error = self.largest_target_error.max(target_error);
    }

    /// A teacher that says only its most probable tokens: a stored token that is not among them is at most as probable as the last
    /// of them, and counts as that.
    fn add_entries(&mut self, said: &Position<'_>, stored: &Position<'_>) {
        let least = said.logprobs.last().copied().unwrap_or(0.0);
        let (mut divergence, mut retained) = (0.0, 0.0);
        let mut tail = f64::from(said.tail_logprob).exp();
        for (token, &stored) in stored.token_ids.iter().zip(stored.logprobs) {
            let place = said.token_ids.iter().position(|said| said == token);
            let logprob = f64::from(place.map_or(least, |place| said.logprobs[place]));
            let exact = logprob.exp();
            divergence += exact * (logprob - f64::from(stored));
            retained += exact;
            if place.is_some() {
                self.errors.push((logprob - f64::from(stored)).abs());
            } else {
                tail -= exact;
            }
        }
        for (token, &logprob) in said.token_ids.iter().zip(said.logprobs) {
            if !stored.token_ids.contains(token) {
                tail += f64::from(logprob).exp();
            }
        }
        if tail > 0.0 && stored.tail_logprob > f32::NEG_INFINITY {
            divergence += tail * (tail.ln() - f64::from(stored.tail_logprob));
        }
        self.divergences.push(divergence);
        self.retained += retained;
        self.agreed += usize::from(stored.token_ids.first() == said.token_ids.first());
        let target_error = f64::from((said.target_logprob - stored.target_logprob).abs());
        self.largest_target_error = self.largest_target_error.max(target_error);
    }

    /// The figures of `samples` samples.
    pub(super) fn figures(mut self, samples: usize) -> Audit {
        let positions = self.divergences.len();
        let share = |amount: f64| amount / positions.max(1) as f64;
        self.divergences.sort_by(f64::total_cmp);
        self.errors.sort_by(f64::total_cmp);
        Audit {
            samples,
            positions,
            entries: self.errors.len() as u64,
            mean_kl: share(self.divergences.iter().sum()),
            p99_kl: quantile(&self.divergences, 0.99),
            top_1_agreement: share(self.agreed as f64),
            retained_mass: share(self.retained),
            p95_logprob_error: quantile(&self.errors, 0.95),
            largest_logprob_error: self.errors.last().copied().unwrap_or(0.0),
            largest_target_error: self.largest_target_error,
            worst: None,
            device_class: String::new(),
            captured_on: BTreeSet::new(),
        }
    }
}

/// The value below which this share of `ascending` lies; 0 of none.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let place = (share * ascending.len() as f64) as usize;
    ascending
        .get(place.min(ascending.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        // The teacher: ½, ¼, ⅛, ⅛. The cache: ¼ and ½ for the first two, the tail right.
        let logits = [4f32, 2.0, 1.0, 1.0].map(f32::ln);
        let stored = Position {
            token_ids: &[1, 0],
            logprobs: &[0.5f32.ln(), 0.25f32.ln()],
            tail_logprob: 0.25f32.ln(),
            target_logprob: 0.25f32.ln(),
            ..Position::default()
        };
        let mut found = Comparison::default();
        found.add(Said::Logits(&logits), 2, &stored);
        let figures = found.figures(1);
        // ½·log 2 + ¼·log ½ = ¼·log 2.
        assert!((figures.mean_kl - 0.25 * 2f64.ln()).abs() < 1e-6, "{figures:?}");
        assert!((figures.p99_kl - figures.mean_kl).abs() < 1e-12);
        assert!((figures.retained_mass - 0.75).abs() < 1e-6);
        assert!((figures.largest_logprob_error - 2f64.ln()).abs() < 1e-6);
        assert!((figures.largest_target_error - 2f64.ln()).abs() < 1e-6);
        assert_eq!((figures.top_1_agreement, figures.entries), (0.0, 2));
    }

    #[test]
    fn a_teacher_that_says_its_most_probable_tokens_is_compared_alike() {
        // As above, but the server says only ½ and ¼, and the tail.
        let said = Position {
            token_ids: &[0, 1],
            logprobs: &[0.5f32.ln(), 0.25f32.ln()],
            tail_logprob: 0.25f32.ln(),
            target_logprob: 0.125f32.ln(),
            ..Position::default()
        };
        let stored = Position {
            token_ids: &[1, 0],
            logprobs: &[0.5f32.ln(), 0.25f32.ln()],
            target_logprob: 0.25f32.ln(),
            ..said
        };
        let mut found = Comparison::default();
        found.add(Said::Entries(said), 2, &stored);
        // The last token may be another: of two that are nearly alike, either may be among the entries.
        let swapped = Position {
            token_ids: &[0, 7],
            ..said
        };
        found.add(Said::Entries(said), 2, &swapped);
        let divergences = found.divergences.clone();
        assert!((divergences[0] - 0.25 * 2f64.ln()).abs() < 1e-6, "{divergences:?}");
        assert!(divergences[1].abs() < 1e-6, "{divergences:?}");
        let figures = found.figures(1);
        assert!((figures.largest_logprob_error - 2f64.ln()).abs() < 1e-6);
        assert!((figures.largest_target_error - 2f64.ln()).abs() < 1e-6);
        assert_eq!((figures.top_1_agreement, figures.entries), (0.5, 3));
    }
}
