//! Exact selection of the k largest logits of a row, without sorting the row.

use std::cmp::Ordering;

/// One candidate: a logit and its token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) logit: f32,
    pub(crate) token: u32,
}

/// Larger logits first, ties to the lower token id.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that sorting asks for")]
pub(crate) fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// The `k` largest logits of `row` in rank order, into `candidates`.
///
/// A threshold, the k-th largest logit seen so far, lets almost every logit pass with one comparison; the few that beat
/// it are collected, and whenever twice k have gathered, all but the k best are dropped and the threshold rises.
/// Negative zero counts as zero. Logits are finite.
pub(crate) fn largest(row: &[f32], k: usize, candidates: &mut Vec<Candidate>) {
    const STRIDE: usize = 64;
    candidates.clear();
    if k == 0 {
        return;
    }
    let room = (2 * k).max(k + STRIDE);
    let mut threshold = f32::NEG_INFINITY;
    for (stride, logits) in row.chunks(STRIDE).enumerate() {
        if logits.iter().all(|&logit| logit <= threshold) {
            continue;
        }
        for (offset, &logit) in logits.iter().enumerate() {
            // A later token never beats an equal earlier one, so equality with the threshold is a loss.
            if logit > threshold {
                candidates.push(Candidate {
                    logit: logit + 0.0,
                    token: (stride * STRIDE + offset) as u32,
                });
            }
        }
        if candidates.len() >= room {
            candidates.select_nth_unstable_by(k - 1, by_rank);
            candidates.truncate(k);
            threshold = candidates[k - 1].logit;
        }
    }
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k - 1, by_rank);
        candidates.truncate(k);
    }
    candidates.sort_unstable_by(by_rank);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn selection_equals_a_full_sort(
            // Few distinct values, so that ties are everywhere.
            row in prop::collection::vec((-20i32..20).prop_map(|v| v as f32 / 4.0), 1..700), k in 1usize..80,
        ) {
            let mut sorted: Vec<Candidate> =
                row.iter().enumerate().map(|(i, &logit)| Candidate { logit: logit + 0.0, token: i as u32 }).collect();
            sorted.sort_by(by_rank);
            sorted.truncate(k);
            let mut selected = Vec::new();
            largest(&row, k, &mut selected);
            prop_assert_eq!(selected, sorted);
        }
    }
}
