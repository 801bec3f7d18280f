//! A stored distribution as the teacher's probabilities of a row's outcomes, under each tail policy.
//!
//! Entries outside the student's vocabulary move to the bucket. A policy without a bucket leaves them out: `renormalize_*`
//! scale up the other entries; a drawn target then sums to less than one, because scaling it by a drawn number would bias
//! it.

use leadspan_distribution::Position;

use super::probability::{Probability, log_add, times_log_ratio};

/// H(p) = −Σ p log p over the entries, rescaled to match the tail, and the bucket as one outcome, in nats.
pub(crate) fn teacher_entropy(position: Position<'_>) -> f64 {
    let mut outcomes = Vec::with_capacity(position.token_ids.len() + 1);
    // As it is stored: the student's vocabulary does not count.
    Stored::new(position, usize::MAX).with_bucket(1.0, f64::from(position.tail_logprob), &mut outcomes);
    outcomes.iter().map(|p| times_log_ratio(p.value, 0.0, p.log)).sum()
}

/// One position, with entries rescaled to match its tail: Σ_K p = 1 − p_tail.
pub(super) struct Stored<'a> {
    position: Position<'a>,
    /// The shift of the stored log-probabilities that rescales them.
    log_scale: f64,
    /// The size of the student's vocabulary.
    vocabulary: usize,
}

impl<'a> Stored<'a> {
    pub(super) fn new(position: Position<'a>, vocabulary: usize) -> Self {
        let stored: f64 = position.logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum();
        let outside_tail = -f64::from(position.tail_logprob).min(0.0).exp_m1();
        Self {
            position,
            log_scale: (outside_tail / stored).ln(),
            vocabulary,
        }
    }

    /// The tokens of the entries that the student knows.
    pub(super) fn token_ids(&self) -> impl Iterator<Item = u32> {
        let known = |&token: &u32| (token as usize) < self.vocabulary;
        self.position.token_ids.iter().copied().filter(known)
    }

    /// Entries and bucket at a temperature whose tail term is `tail`, summing to one.
    ///
    /// If the entries are all of the student's tokens, the bucket has no tokens, and the teacher is conditioned on the
    /// entries.
    pub(super) fn with_bucket(&self, temperature: f64, tail: f64, outcomes: &mut Vec<Probability>) {
        let start = outcomes.len();
        let mut bucket = tail;
        for (known, logprob) in self.entries() {
            let score = (logprob + self.log_scale) / temperature;
            if known {
                outcomes.push(Probability::of_log(score));
            } else {
                bucket = log_add(bucket, score);
            }
        }
        if outcomes.len() - start == self.vocabulary {
            bucket = f64::NEG_INFINITY;
        }
        outcomes.push(Probability::of_log(bucket));
        normalize(&mut outcomes[start..]);
    }

    /// Entries alone, summing to one, and an empty bucket. If the student knows none of them, all probabilities are 0.
    pub(super) fn conditioned_on_entries(&self, temperature: f64, outcomes: &mut Vec<Probability>) {
        let start = outcomes.len();
        for (known, logprob) in self.entries() {
            if known {
                outcomes.push(Probability::of_log(logprob / temperature));
            }
        }
        outcomes.push(Probability::of_log(f64::NEG_INFINITY));
        normalize(&mut outcomes[start..]);
    }

    /// Entries with their own probabilities, an empty bucket, and the share of the tail mass of each drawn token that the
    /// student knows.
    pub(super) fn with_draws(
        &self,
        outcomes: &mut Vec<Probability>,
        token_ids: &mut Vec<u32>,
        probabilities: &mut Vec<f64>,
    ) {
        for (known, logprob) in self.entries() {
            if known {
                outcomes.push(Probability::of_log(logprob + self.log_scale));
            }
        }
        outcomes.push(Probability::of_log(f64::NEG_INFINITY));
        let Position {
            sampled_token_ids,
            sampled_draws,
            tail_logprob,
            ..
        } = self.position;
        let draws: u64 = sampled_draws.iter().map(|&draws| u64::from(draws)).sum();
        for (&token, &times) in sampled_token_ids.iter().zip(sampled_draws) {
            if (token as usize) < self.vocabulary {
                token_ids.push(token);
                probabilities.push(f64::from(tail_logprob).exp() * f64::from(times) / draws as f64);
            }
        }
    }

    /// For each entry, whether the student knows the token, and the stored log-probability.
    fn entries(&self) -> impl Iterator<Item = (bool, f64)> {
        let Position {
            token_ids, logprobs, ..
        } = self.position;
        let of = |(&token, &logprob): (&u32, &f32)| ((token as usize) < self.vocabulary, f64::from(logprob));
        token_ids.iter().zip(logprobs).map(of)
    }
}

/// Makes probabilities sum to one, unless all are 0.
fn normalize(outcomes: &mut [Probability]) {
    let max = outcomes
        .iter()
        .map(|outcome| outcome.log)
        .fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return;
    }
    let sum: f64 = outcomes.iter().map(|outcome| (outcome.log - max).exp()).sum();
    let log_sum_exp = max + sum.ln();
    for outcome in outcomes {
        *outcome = Probability::of_log(outcome.log - log_sum_exp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(tail_logprob: f32) -> Position<'static> {
        Position {
            token_ids: &[1, 9, 0],
            logprobs: &[-1.386_294_4, -2.079_441_5, -2.772_588_7],
            tail_logprob,
            temperature_tails: &[-0.287_682_07],
            sampled_token_ids: &[2, 8],
            sampled_draws: &[3, 1],
            ..Position::default()
        }
    }

    fn values(outcomes: &[Probability]) -> Vec<f64> {
        outcomes.iter().map(|outcome| outcome.value).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn each_policy_gives_the_outcomes_worked_out_by_hand() {
        // Entries 4, 2, 1 of 16 and a tail of 9 of 16; token 9 is unknown to a student of 5 tokens. At τ = 2 the entries'
        // square roots are 1/2, √2/4, 1/4 and the tail term is given as 3/4.
        let position = position((9.0f32 / 16.0).ln());
        let stored = Stored::new(position, 5);
        assert_eq!(stored.token_ids().collect::<Vec<_>>(), [1, 0]);
        let mut outcomes = Vec::new();
        stored.with_bucket(1.0, f64::from(position.tail_logprob), &mut outcomes);
        close(&values(&outcomes), &[4.0 / 16.0, 1.0 / 16.0, 11.0 / 16.0]);

        outcomes.clear();
        stored.with_bucket(2.0, f64::from(position.temperature_tails[0]), &mut outcomes);
        let moved = 2f64.sqrt() / 4.0;
        let sum = 0.5 + moved + 0.25 + 0.75;
        close(&values(&outcomes), &[0.5 / sum, 0.25 / sum, (0.75 + moved) / sum]);

        outcomes.clear();
        stored.conditioned_on_entries(1.0, &mut outcomes);
        close(&values(&outcomes), &[0.8, 0.2, 0.0]);
        outcomes.clear();
        stored.conditioned_on_entries(2.0, &mut outcomes);
        close(&values(&outcomes), &[2.0 / 3.0, 1.0 / 3.0, 0.0]);

        // Three of four draws fell on token 2; the fourth, on token 8, the student does not know.
        let (mut token_ids, mut probabilities) = (Vec::new(), Vec::new());
        outcomes.clear();
        stored.with_draws(&mut outcomes, &mut token_ids, &mut probabilities);
        close(&values(&outcomes), &[4.0 / 16.0, 1.0 / 16.0, 0.0]);
        assert_eq!(token_ids, [2]);
        close(&probabilities, &[9.0 / 16.0 * 0.75]);
    }

    #[test]
    fn the_entropy_is_that_worked_out_by_hand() {
        let of = |logprobs: &[f32], tail_logprob| {
            teacher_entropy(Position {
                token_ids: &[4, 7, 1][..logprobs.len()],
                logprobs,
                tail_logprob,
                ..Position::default()
            })
        };
        let (half, quarter) = (0.5f32.ln(), 0.25f32.ln());
        let ln2 = std::f64::consts::LN_2;
        // Two quarters and a bucket of a half: 2 · ¼ · ln 4 + ½ · ln 2.
        assert!((of(&[quarter, quarter], half) - 1.5 * ln2).abs() < 1e-6);
        // The entries are rescaled to what the tail leaves, here to the same.
        assert!((of(&[half, half], half) - 1.5 * ln2).abs() < 1e-6);
        assert!((of(&[half, quarter, quarter], f32::NEG_INFINITY) - 1.5 * ln2).abs() < 1e-6);
        assert!(of(&[0.0], f32::NEG_INFINITY).abs() < 1e-12);
        assert!(of(&[], 0.0).abs() < 1e-12);
    }

    #[test]
    fn stored_entries_are_rescaled_to_what_the_tail_leaves() {
        let mut outcomes = Vec::new();
        Stored::new(position(0.5f32.ln()), 10).with_bucket(1.0, 0.5f64.ln(), &mut outcomes);
        close(&values(&outcomes), &[2.0 / 7.0, 1.0 / 7.0, 0.5 / 7.0, 0.5]);
    }

    #[test]
    fn without_a_token_for_it_there_is_no_bucket() {
        let mut outcomes = Vec::new();
        Stored::new(position(0.5f32.ln()), 2).with_bucket(1.0, 0.5f64.ln(), &mut outcomes);
        close(&values(&outcomes), &[0.8, 0.2, 0.0]);
    }

    #[test]
    fn tails_of_nothing_and_everything_are_outcomes_like_others() {
        let mut outcomes = Vec::new();
        Stored::new(position(f32::NEG_INFINITY), 10).with_bucket(1.0, f64::NEG_INFINITY, &mut outcomes);
        close(&values(&outcomes), &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0]);
        outcomes.clear();
        Stored::new(position(0.0), 10).with_bucket(1.0, 0.0, &mut outcomes);
        close(&values(&outcomes), &[0.0, 0.0, 0.0, 1.0]);
        outcomes.clear();
        let nothing = Position {
            tail_logprob: 0.0,
            ..Position::default()
        };
        Stored::new(nothing, 10).with_bucket(1.0, 0.0, &mut outcomes);
        close(&values(&outcomes), &[1.0]);
        outcomes.clear();
        Stored::new(nothing, 10).conditioned_on_entries(1.0, &mut outcomes);
        close(&values(&outcomes), &[0.0]);
    }
}
