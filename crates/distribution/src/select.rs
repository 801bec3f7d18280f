//! Exact selection of the k largest logits of a row, without sorting the row.

use std::cmp::Ordering;

use leadspan_simd::on_widest_vectors;

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

on_widest_vectors! {
    /// Whether no value of `row` is infinite or not a number.
    pub(crate) fn are_finite(row: &[f32]) -> bool {
        // All exponent bits of a non-finite value are ones. The loop has no early exit, so that it vectorizes.
        let largest = row.iter().map(|value| value.to_bits() & 0x7fff_ffff).fold(0, u32::max);
        largest < f32::INFINITY.to_bits()
    }
}

on_widest_vectors! {
    /// The `k` largest logits of `row` in rank order, into `candidates`.
    ///
    /// Almost every logit is dismissed by one comparison with a threshold, the k-th largest logit so far. Larger logits are
    /// collected. As soon as there are 2k candidates, all but the k best are dropped and the threshold rises.
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
            let above = logits.iter().map(|&logit| u32::from(logit > threshold)).fold(0, |all, one| all | one);
            if above == 0 {
                continue;
            }
            for (offset, &logit) in logits.iter().enumerate() {
                // Ties go to the earlier token, so a logit equal to the threshold is dismissed.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_finite_is_found_wherever_it_is() {
        for length in [1usize, 15, 16, 63, 200] {
            let mut row = vec![-f32::MAX; length];
            assert!(are_finite(&row));
            for at in 0..length {
                for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    row[at] = value;
                    assert!(!are_finite(&row));
                }
                row[at] = f32::MAX;
            }
            assert!(are_finite(&row));
        }
        assert!(are_finite(&[]));
    }

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
