//! Which samples go through the teacher together. Pure: the batches of a unit depend only on its samples and the budget.

use leadspan_cache::{Layer, PreparedCorpus, SampleRef, WorkUnit};

/// The captured tokens and positions of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CapturedSpan {
    /// Index in the corpus.
    pub(crate) sample: u32,
    /// The number of leading tokens that go through the model: up to the last supervised position, without its target.
    pub(crate) tokens: u32,
    /// The number of supervised positions.
    pub(crate) positions: u32,
}

impl CapturedSpan {
    /// What `layer` covers of a sample, or `None` if it covers no position.
    pub(crate) fn of(layer: &Layer, index: usize, sample: SampleRef<'_>) -> Option<Self> {
        let tokens = layer.leading_tokens(sample)?;
        let positions = layer.position_count(sample) as u32;
        Some(Self {
            sample: index as u32,
            tokens,
            positions,
        })
    }
}

/// What `layer` covers of the samples of a unit, in their order, without samples that have no positions.
pub(crate) fn spans_of(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit) -> Vec<CapturedSpan> {
    unit.samples
        .clone()
        .zip(corpus.samples_of(unit.samples.clone()))
        .filter_map(|(index, sample)| CapturedSpan::of(layer, index, sample))
        .collect()
}

/// Divides spans in their order into batches of at most `batch_tokens` tokens. A longer span is a batch of its own.
///
/// Nothing is padded, so spans of a batch may differ in length.
pub(crate) fn plan_batches(spans: &[CapturedSpan], batch_tokens: usize) -> Vec<&[CapturedSpan]> {
    let mut batches = Vec::new();
    let mut rest = spans;
    while !rest.is_empty() {
        let mut tokens = 0;
        let fitting = rest.iter().take_while(|span| {
            tokens += span.tokens as usize;
            tokens <= batch_tokens
        });
        let (batch, after) = rest.split_at(fitting.count().max(1));
        batches.push(batch);
        rest = after;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_filled_in_order() {
        let span = |tokens: u32| CapturedSpan {
            sample: tokens,
            tokens,
            positions: 1,
        };
        let batches_of = |lengths: &[u32], budget: usize| -> Vec<Vec<u32>> {
            let spans: Vec<CapturedSpan> = lengths.iter().map(|&length| span(length)).collect();
            let lengths = |batch: &&[CapturedSpan]| batch.iter().map(|span| span.tokens).collect();
            plan_batches(&spans, budget).iter().map(lengths).collect()
        };
        assert_eq!(
            batches_of(&[3, 4, 3, 9, 1, 12, 2], 10),
            [vec![3, 4, 3], vec![9, 1], vec![12], vec![2]]
        );
        assert_eq!(batches_of(&[5, 6], 1), [[5], [6]]);
        assert!(batches_of(&[], 10).is_empty());
    }
}
