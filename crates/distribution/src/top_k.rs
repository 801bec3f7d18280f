//! From rows of logits to stored distributions: entries, exact tail mass, the target's log-probability, tail terms.

use leadspan_simd::exp_sum_below;
use rayon::prelude::*;

use crate::{
    Distributions, EntrySettings, MIN_TAIL_LOGPROB, Position, select,
    tail::{Tail, TailScratch},
};

/// A logit that is infinite or not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logits row {row} holds a value that is not finite (token {token})")]
pub struct NonFiniteLogit {
    /// Index of the row.
    pub row: usize,
    /// The first token whose logit is not finite.
    pub token: u32,
}

/// Rows handled by one task: enough to amortise its buffers, few enough to balance.
pub(crate) const ROWS_A_TASK: usize = 16;

/// The `k` most probable tokens of every row of `logits`, with tail mass and the log-probability of `targets`.
///
/// If `k` is not below `vocabulary`, the whole vocabulary is stored and the tail is −∞. The tail mass is the sum over the
/// tokens that are left out, not one minus the entries, and at least [`MIN_TAIL_LOGPROB`].
///
/// # Shapes
///
/// `logits` is `[N, V]` row-major with V = `vocabulary`; `targets` is `[N]`.
///
/// # Errors
///
/// If a logit is not finite: the first such row.
///
/// # Panics
///
/// If the shapes do not match, or a target is outside the vocabulary.
///
/// ```
/// # use leadspan_distribution::top_k;
/// let logits = [2f32.ln(), 0.0, 5f32.ln(), 0.0]; // probabilities 2/9, 1/9, 5/9, 1/9
/// let stored = top_k(&logits, 4, &[1], 2)?;
/// assert_eq!(stored.get(0).token_ids, [2, 0]);
/// assert!((stored.get(0).tail_logprob - (2f32 / 9.0).ln()).abs() < 1e-6);
/// assert!((stored.get(0).target_logprob - (1f32 / 9.0).ln()).abs() < 1e-6);
/// # Ok::<(), leadspan_distribution::NonFiniteLogit>(())
/// ```
pub fn top_k(logits: &[f32], vocabulary: usize, targets: &[u32], k: usize) -> Result<Distributions, NonFiniteLogit> {
    let rows: Vec<Row> = targets.iter().map(|&target| Row { target, seed: 0 }).collect();
    reduce(logits, vocabulary, &rows, &EntrySettings::top_k(k as u32))
}

/// The inputs that belong to a row of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token that follows.
    pub target: u32,
    /// The seed of the draws from its tail.
    pub seed: u64,
}

/// Computes what `settings` ask for from every row of `logits`. [`top_k`] is the case of a fixed number of entries.
///
/// # Shapes
///
/// `logits` is `[N, V]` row-major with V = `vocabulary`; `rows` is `[N]`.
///
/// # Errors
///
/// If a logit is not finite: the first such row.
///
/// # Panics
///
/// If the shapes do not match, or a target is outside the vocabulary.
pub fn reduce(
    logits: &[f32],
    vocabulary: usize,
    rows: &[Row],
    settings: &EntrySettings,
) -> Result<Distributions, NonFiniteLogit> {
    assert_eq!(
        logits.len(),
        rows.len() * vocabulary,
        "one row of logits for each target"
    );
    let k = (settings.top_k as usize).min(vocabulary);
    let parts: Vec<Distributions> = logits
        .par_chunks(ROWS_A_TASK * vocabulary.max(1))
        .zip(rows.par_chunks(ROWS_A_TASK))
        .enumerate()
        .map(|(task, (logits, rows))| {
            let mut part = Distributions::with_capacity(rows.len(), rows.len() * k);
            let mut scratch = Scratch::default();
            for (index, (logits, row)) in logits.chunks(vocabulary).zip(rows).enumerate() {
                if !select::are_finite(logits) {
                    let token = logits.iter().position(|logit| !logit.is_finite());
                    return Err(NonFiniteLogit {
                        row: task * ROWS_A_TASK + index,
                        token: token.unwrap_or(0) as u32,
                    });
                }
                push_row(logits, row, settings, &mut scratch, &mut part);
            }
            Ok(part)
        })
        // All results are collected first, so that the reported row is the first one whichever task finishes first.
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Result<_, _>>()?;
    let mut all = Distributions::with_capacity(rows.len(), rows.len() * k);
    for part in &parts {
        all.append(part);
    }
    Ok(all)
}

#[derive(Default)]
struct Scratch {
    candidates: Vec<select::Candidate>,
    token_ids: Vec<u32>,
    logprobs: Vec<f32>,
    tail: TailScratch,
}

fn push_row(logits: &[f32], row: &Row, settings: &EntrySettings, scratch: &mut Scratch, into: &mut Distributions) {
    let k = (settings.top_k as usize).min(logits.len());
    // The log-sum-exp needs the maximum even if k is 0.
    select::largest(logits, k.max(1), &mut scratch.candidates);
    let max = scratch.candidates[0].logit;
    let candidates = &scratch.candidates[..k];
    let beyond = if let Some(last) = candidates.last() {
        let (below, equal) = exp_sum_below(logits, max, last.logit);
        let ties_kept = candidates
            .iter()
            .filter(|candidate| candidate.logit == last.logit)
            .count();
        below + (equal - ties_kept) as f64 * f64::from(last.logit - max).exp()
    } else {
        exp_sum_below(logits, max, f32::INFINITY).0
    };
    let reduced = Reduced::of(candidates, max, beyond, logits.len(), settings);
    reduced.entries(&mut scratch.token_ids, &mut scratch.logprobs);
    let Tail {
        temperature_tails,
        token_ids: sampled_token_ids,
        draws: sampled_draws,
    } = scratch
        .tail
        .of(logits, reduced.kept, reduced.log_sum_exp, settings, row.seed);
    into.push(Position {
        token_ids: &scratch.token_ids,
        logprobs: &scratch.logprobs,
        tail_logprob: reduced.tail_logprob,
        target_logprob: reduced.logprob(logits[row.target as usize]),
        temperature_tails,
        sampled_token_ids,
        sampled_draws,
    });
}

/// Builds the distribution of a row from its largest logits and the sum over the others.
pub(crate) struct Reduced<'a> {
    pub(crate) kept: &'a [select::Candidate],
    pub(crate) log_sum_exp: f64,
    pub(crate) tail_logprob: f32,
}

impl<'a> Reduced<'a> {
    /// `candidates` are the largest logits in rank order, `max` the largest of all, `beyond` Σ exp(z − `max`) over the others.
    pub(crate) fn of(
        candidates: &'a [select::Candidate],
        max: f32,
        beyond: f64,
        vocabulary: usize,
        settings: &EntrySettings,
    ) -> Self {
        let mass_of = |candidate: &select::Candidate| f64::from(candidate.logit - max).exp();
        let total = beyond + candidates.iter().map(mass_of).sum::<f64>();
        let log_sum_exp = f64::from(max) + total.ln();
        let kept = &candidates[..settings.entries_of(candidates.iter().map(|candidate| mass_of(candidate) / total))];
        let tail_sum = beyond + candidates[kept.len()..].iter().map(mass_of).sum::<f64>();
        let tail_logprob = if kept.len() == vocabulary {
            f32::NEG_INFINITY
        } else {
            ((f64::from(max) + tail_sum.ln() - log_sum_exp).min(0.0) as f32).max(MIN_TAIL_LOGPROB)
        };
        Self {
            kept,
            log_sum_exp,
            tail_logprob,
        }
    }

    pub(crate) fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum_exp).min(0.0) as f32
    }

    pub(crate) fn entries(&self, token_ids: &mut Vec<u32>, logprobs: &mut Vec<f32>) {
        token_ids.clear();
        token_ids.extend(self.kept.iter().map(|candidate| candidate.token));
        logprobs.clear();
        logprobs.extend(self.kept.iter().map(|candidate| self.logprob(candidate.logit)));
        order_rounded_ties(token_ids, logprobs);
    }
}

/// Restores "ties to the lower id" where different logits round to the same log-probability.
fn order_rounded_ties(token_ids: &mut [u32], logprobs: &[f32]) {
    let mut start = 0;
    for end in 1..=logprobs.len() {
        if end == logprobs.len() || logprobs[end] != logprobs[start] {
            token_ids[start..end].sort_unstable();
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hand_computed_rows_come_out_right() {
        // Probabilities 1/2, 1/4, 1/8, 1/8: entries, tail and target by hand.
        let row: Vec<f32> = [0.5f32, 0.125, 0.25, 0.125].iter().map(|p| p.ln() + 3.0).collect();
        for (k, ids, tail) in [
            (0usize, &[][..], 1f32),
            (1, &[0], 0.5),
            (2, &[0, 2], 0.25),
            (3, &[0, 2, 1], 0.125),
            (4, &[0, 2, 1, 3], 0.0),
            (9, &[0, 2, 1, 3], 0.0),
        ] {
            let stored = top_k(&row, 4, &[3], k).unwrap();
            let position = stored.get(0);
            assert_eq!(position.token_ids, ids, "k = {k}");
            assert!(
                (position.tail_logprob.exp() - tail).abs() < 1e-6,
                "k = {k}: {}",
                position.tail_logprob
            );
            assert!((position.target_logprob - 0.125f32.ln()).abs() < 1e-6);
            for (&id, &logprob) in position.token_ids.iter().zip(position.logprobs) {
                assert!((logprob - (row[id as usize] - 3.0)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_tail_too_small_to_be_felt_is_clamped() {
        let stored = top_k(&[1e4, -1e4, -1e4], 3, &[1], 1).unwrap();
        assert_eq!(stored.get(0).tail_logprob, MIN_TAIL_LOGPROB);
        assert_eq!(stored.get(0).logprobs, [0.0]);
        assert_eq!(stored.get(0).target_logprob, -2e4);
    }

    #[test]
    fn a_small_tail_beside_a_certain_token_keeps_its_precision() {
        // Tail mass 2·exp(−20): one minus the entries would lose it in single precision.
        let stored = top_k(&[20.0, 0.0, 0.0], 3, &[0], 1).unwrap();
        let exact = (2f64 * (-20f64).exp() / (1.0 + 2.0 * (-20f64).exp())).ln() as f32;
        assert!((stored.get(0).tail_logprob - exact).abs() < 1e-6);
    }

    #[test]
    fn a_logit_that_is_not_finite_is_reported_at_its_first_row() {
        let mut logits = vec![0.5f32; 100 * 7];
        logits[63 * 7 + 2] = f32::NAN;
        logits[90 * 7] = f32::INFINITY;
        assert_eq!(
            top_k(&logits, 7, &[0; 100], 3),
            Err(NonFiniteLogit { row: 63, token: 2 })
        );
    }

    proptest! {
        #[test]
        fn top_k_and_tail_sum_to_one_and_match_a_plain_softmax(
            row in prop::collection::vec(-30f32..30.0, 2..300), k in 0usize..40, target in 0usize..300,
        ) {
            let target = target % row.len();
            let stored = top_k(&row, row.len(), &[target as u32], k).unwrap();
            let position = stored.get(0);
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let log_sum_exp = f64::from(max) + row.iter().map(|&z| f64::from(z - max).exp()).sum::<f64>().ln();
            let mass: f64 = position.logprobs.iter().map(|&l| f64::from(l).exp()).sum();
            let tail = f64::from(position.tail_logprob).exp();
            prop_assert!((mass + tail - 1.0).abs() < 1e-5, "{} + {}", mass, tail);
            for (&id, &logprob) in position.token_ids.iter().zip(position.logprobs) {
                prop_assert!((f64::from(logprob) - (f64::from(row[id as usize]) - log_sum_exp)).abs() < 1e-5);
            }
            prop_assert!((f64::from(position.target_logprob) - (f64::from(row[target]) - log_sum_exp)).abs() < 1e-5);
        }
    }
}
