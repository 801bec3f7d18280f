//! The cost of each work unit of a layer, by which the workers divide the layer.

use leadspan_cache::{Layer, PreparedCorpus, WorkUnit};
use leadspan_workers::UnitCosts;

/// The cost of each work unit: its tokens that go through the teacher. Each part of the corpus is divided separately.
pub(crate) fn unit_costs(layer: &Layer, corpus: &PreparedCorpus) -> UnitCosts {
    let tokens = corpus.units().iter().map(|unit| tokens_of(layer, corpus, unit));
    UnitCosts::new(tokens.collect(), corpus.parts().iter().map(|part| part.units.clone()))
}

fn tokens_of(layer: &Layer, corpus: &PreparedCorpus, unit: &WorkUnit) -> u64 {
    corpus
        .samples_of(unit.samples.clone())
        .filter_map(|sample| layer.leading_tokens(sample))
        .map(u64::from)
        .sum()
}
