//! Made-up samples, with distributions of made-up logits, and every objective that goes with them.

use leadspan_cache::Span;
use leadspan_distribution::{EntrySettings, Row, reduce};
use leadspan_train::{Loss, MicroBatch, TailPolicy, TrainSettings, objective::Distillation};

pub(crate) const VOCABULARY: usize = 512;

/// Distinct numbers in −1..1.
pub(crate) fn waves(seed: usize, count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| ((index * 7919 + seed * 104_729) as f32 * 0.618).sin())
        .collect()
}

pub(crate) fn entries() -> EntrySettings {
    EntrySettings {
        tail_samples: 6,
        temperatures: vec![2.0],
        ..EntrySettings::top_k(8)
    }
}

/// Samples of several lengths, one longer than the tiles of attention, with distributions of made-up logits.
pub(crate) fn spans() -> Vec<Span> {
    let span = |length: usize| {
        let tokens: Vec<u32> = (0..length)
            .map(|token| ((token * 7919 + length) % VOCABULARY) as u32)
            .collect();
        let logits: Vec<f32> = waves(length, (length - 1) * VOCABULARY)
            .into_iter()
            .map(|value| value * 4.0)
            .collect();
        let wanted: Vec<Row> = (tokens[1..].iter().zip(0..))
            .map(|(&target, seed)| Row { target, seed })
            .collect();
        Span {
            distributions: reduce(&logits, VOCABULARY, &wanted, &entries()).unwrap(),
            positions: (0..length as u32 - 1).collect(),
            tokens,
        }
    };
    [301, 78, 2, 40].map(span).into()
}

pub(crate) fn batch(spans: &[Span], distillation: Distillation) -> MicroBatch {
    let positions: usize = spans.iter().map(|span| span.positions.len()).sum();
    let spans: Vec<&Span> = spans.iter().collect();
    MicroBatch::new(&spans, &|_| 1.0 / positions as f64, distillation, VOCABULARY)
}

/// Every loss under every tail policy that goes with it, at temperatures 1 and 2.
pub(crate) fn distillations() -> Vec<Distillation> {
    let mut all = Vec::new();
    for temperature in [1.0, 2.0] {
        for loss in Loss::ALL {
            for tail_policy in TailPolicy::ALL {
                let settings = TrainSettings {
                    loss,
                    tail_policy,
                    temperature,
                    ..TrainSettings::default()
                };
                all.extend(Distillation::new(&settings, &entries()));
            }
        }
    }
    assert_eq!(all.len(), 14 + 13);
    all
}
