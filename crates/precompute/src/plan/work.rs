//! The amount of work of a capture: tokens, positions and operations. Pure.

use leadspan_cache::{Coverage, Layer, PreparedCorpus, WorkUnit};
use leadspan_corpus::SectionTokens;
use leadspan_model::ForwardFlops;
use leadspan_sequence::{Section, Split};

use crate::batches::spans_of;

/// An amount of work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// Tokens that go through the teacher.
    pub(super) tokens: u64,
    /// Stored positions of training samples and of validation samples.
    pub(super) positions: [u64; 2],
    /// Operations of the teacher's layers.
    pub(super) layer_flops: f64,
}

impl Work {
    /// The work for one unit of a layer.
    pub(super) fn of(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit, flops: &ForwardFlops) -> Self {
        let mut work = Self::default();
        for span in spans_of(layer, corpus, unit) {
            work.tokens += u64::from(span.tokens);
            work.positions[usize::from(unit.split == Split::Validation)] += u64::from(span.positions);
            work.layer_flops += flops.layers(u64::from(span.tokens));
        }
        work
    }

    pub(super) fn positions(&self) -> u64 {
        self.positions.iter().sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.positions[0] += other.positions[0];
        self.positions[1] += other.positions[1];
        self.layer_flops += other.layer_flops;
    }
}

/// The tokens in the lead spans by section, if each sample stands for `scale` samples.
pub(super) fn kept_tokens(corpus: &PreparedCorpus, coverage: &Coverage, scale: f64) -> SectionTokens {
    let of = |section: Section| {
        let tokens = corpus.samples().map(|sample| {
            let kept = coverage.proportion_of(sample.split).kept(sample.token_count()) as u32;
            let range = sample.bounds.range(section);
            u64::from(range.end.min(kept).saturating_sub(range.start))
        });
        (tokens.sum::<u64>() as f64 * scale).round() as u64
    };
    SectionTokens {
        prompt: of(Section::Prompt),
        chain_of_thought: of(Section::ChainOfThought),
        answer: of(Section::Answer),
    }
}
