//! Which samples go through the teacher together. Pure: a unit's batches depend on its samples and the budget alone.

use leadspan_cache::{Layer, PreparedCorpus, WorkUnit};
use leadspan_sequence::Sample;

/// What is captured of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CapturedSpan {
    /// Index in the corpus.
    pub(crate) sample: u32,
    /// Leading tokens that go through the model: up to the last supervised position. Its target need not.
    pub(crate) tokens: u32,
    /// Supervised positions.
    pub(crate) positions: u32,
}

/// Samples are sorted by length within windows of this many batches' worth of tokens. The writer holds the results of
/// one window at most, while short samples still find others of their length.
const WINDOW_BATCHES: usize = 64;

/// The share of a batch's tokens that may be padding, as one in so many.
const TOKENS_PER_PADDING: usize = 20;

impl CapturedSpan {
    /// What `layer` covers of a sample, or `None` where it covers no position of it.
    pub(crate) fn of(layer: &Layer, index: usize, sample: &Sample) -> Option<Self> {
        let last = layer.positions(sample).last()?;
        let positions = layer.position_count(sample) as u32;
        Some(Self {
            sample: index as u32,
            tokens: last + 1,
            positions,
        })
    }
}

/// What `layer` covers of the samples of a unit, in their order, those without positions left out.
pub(crate) fn spans_of(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit) -> Vec<CapturedSpan> {
    let samples = &corpus.samples()[unit.samples.clone()];
    unit.samples
        .clone()
        .zip(samples)
        .filter_map(|(index, sample)| CapturedSpan::of(layer, index, sample))
        .collect()
}

/// Divides spans into batches of at most `batch_tokens` tokens, padding included, of which at most a twentieth is
/// padding; a span that is longer goes alone. Every batch has at least one span, longest first.
pub(crate) fn plan_batches(spans: &[CapturedSpan], batch_tokens: usize) -> Vec<Vec<CapturedSpan>> {
    let mut batches = Vec::new();
    let mut rest = spans;
    while !rest.is_empty() {
        let (window, after) = rest.split_at(window_length(rest, batch_tokens));
        let mut window = window.to_vec();
        window.sort_by_key(|span| std::cmp::Reverse(span.tokens));
        let mut unbatched = window.as_slice();
        while !unbatched.is_empty() {
            let (batch, after) = unbatched.split_at(batch_length(unbatched, batch_tokens));
            batches.push(batch.to_vec());
            unbatched = after;
        }
        rest = after;
    }
    batches
}

/// How many of the first spans form a window: at least one.
fn window_length(spans: &[CapturedSpan], batch_tokens: usize) -> usize {
    let mut tokens = 0;
    let within = spans.iter().take_while(|span| {
        tokens += span.tokens as usize;
        tokens <= WINDOW_BATCHES * batch_tokens
    });
    within.count().max(1)
}

/// How many of the first spans, which descend in length, form a batch: at least one.
fn batch_length(spans: &[CapturedSpan], batch_tokens: usize) -> usize {
    let longest = spans[0].tokens as usize;
    let mut tokens = 0;
    let fitting = spans.iter().enumerate().take_while(|(index, span)| {
        let padded = (index + 1) * longest;
        tokens += span.tokens as usize;
        padded <= batch_tokens && (padded - tokens) * TOKENS_PER_PADDING <= padded
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans of lengths that a multiplicative generator scatters over `1..=longest`.
    fn spans(count: u32, longest: u32) -> Vec<CapturedSpan> {
        let length = |index: u32| index.wrapping_mul(2_654_435_761).rotate_left(13) % longest + 1;
        (0..count)
            .map(|sample| CapturedSpan {
                sample,
                tokens: length(sample),
                positions: 1,
            })
            .collect()
    }

    fn padded(batch: &[CapturedSpan]) -> usize {
        batch.len() * batch[0].tokens as usize
    }

    #[test]
    fn every_span_is_in_exactly_one_batch_within_budget_and_padding() {
        for (count, longest, budget) in [
            (0, 9, 64),
            (1, 500, 64),
            (1000, 300, 2048),
            (300, 4000, 2048),
            (200, 50, 1),
        ] {
            let batches = plan_batches(&spans(count, longest), budget);
            let mut seen: Vec<u32> = batches.iter().flatten().map(|span| span.sample).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
            for batch in &batches {
                let tokens: usize = batch.iter().map(|span| span.tokens as usize).sum();
                assert!(batch.len() == 1 || padded(batch) <= budget);
                assert!((padded(batch) - tokens) * 20 <= padded(batch));
            }
        }
    }

    #[test]
    fn short_samples_fill_their_batches() {
        // Otherwise the limit on padding would have been bought with tiny batches.
        let mut longer = spans(1000, 300);
        for span in &mut longer {
            span.tokens += 60;
        }
        let batches = plan_batches(&longer, 2048);
        let filled: usize = batches.iter().map(|batch| padded(batch)).sum();
        assert!(
            filled * 10 >= batches.len() * 2048 * 9,
            "{} batches of {filled} tokens",
            batches.len()
        );
    }

    #[test]
    fn samples_of_one_length_stay_in_their_order() {
        let same: Vec<CapturedSpan> = (0..10)
            .map(|sample| CapturedSpan {
                sample,
                tokens: 5,
                positions: 4,
            })
            .collect();
        let batches = plan_batches(&same, 20);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(batches.concat().is_sorted_by_key(|span| span.sample));
    }

    #[test]
    fn results_wait_for_at_most_one_window() {
        // What is out of order never spans more tokens than a window.
        let budget = 64;
        let spans = spans(2000, 40);
        let (mut next, mut ahead) = (0, std::collections::BTreeMap::new());
        for batch in plan_batches(&spans, budget) {
            ahead.extend(batch.iter().map(|span| (span.sample, span.tokens as usize)));
            while ahead.remove(&next).is_some() {
                next += 1;
            }
            assert!(ahead.values().sum::<usize>() <= WINDOW_BATCHES * budget);
        }
        assert_eq!(next, 2000);
    }
}
