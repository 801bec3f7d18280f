//! Distributions of any shape read back as they were written.

use leadspan_distribution::{Distributions, Position};
use leadspan_sequence::{LeadSpanProportion, SectionSet};
use proptest::prelude::*;

use crate::{Cache, Coverage, Missing, Reader, ShardWriter, shard::Shard, shard::blocks, tests::synthetic};

/// A position: its number of entries, and the seed of its values.
type Shape = (usize, u32);

fn distributions(shapes: &[Shape]) -> Distributions {
    let mut distributions = Distributions::new();
    for &(entries, seed) in shapes {
        let ids: Vec<u32> = (0..entries as u32)
            .map(|entry| seed.wrapping_mul(2_654_435_761) % 1_000_000 + entry)
            .collect();
        let logprobs: Vec<f32> = (0..entries)
            .map(|entry| 0.0 - (seed % 7) as f32 - entry as f32 / 16.0)
            .collect();
        distributions.push(Position {
            token_ids: &ids,
            logprobs: &logprobs,
            tail_logprob: 0.0 - (seed % 30) as f32,
            target_logprob: f32::from_bits(0xbf00_0000 | seed & 0xffff),
            temperature_tails: &[1.5],
            ..Position::default()
        });
    }
    distributions
}

/// Writes samples of these shapes to a cache of one layer.
fn write(samples: &[Vec<Shape>], samples_per_shard: u32) -> synthetic::Prepared {
    let tokens: Vec<usize> = samples.iter().map(|shapes| shapes.len() + 1).collect();
    let prepared = synthetic::prepared_with_tokens(&tokens, samples_per_shard);
    let layer = prepared
        .cache
        .layer(&synthetic::coverage("1", SectionSet::ALL).into())
        .unwrap();
    for unit in layer.missing_units().unwrap() {
        let mut writer = ShardWriter::create(&layer, &unit).unwrap();
        for index in unit.samples.clone() {
            let positions: Vec<u32> = (0..samples[index].len() as u32).collect();
            writer
                .push_sample(index as u32, &positions, &distributions(&samples[index]))
                .unwrap();
        }
        writer.commit().unwrap();
    }
    prepared
}

fn expect(cache: &Cache, samples: &[Vec<Shape>], proportion: LeadSpanProportion) {
    let sections = SectionSet::ALL;
    let reader = Reader::open(cache, Coverage { proportion, sections }, Missing::Refused).unwrap();
    for (index, shapes) in samples.iter().enumerate() {
        let kept = proportion.kept(shapes.len() + 1) - 1;
        assert_eq!(
            reader.span(index as u32).unwrap().distributions,
            distributions(&shapes[..kept]),
            "sample {index}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_read_is_what_was_written(
        samples in prop::collection::vec(prop::collection::vec((0usize..40, any::<u32>()), 0..30), 1..12),
        samples_per_shard in 1u32..6,
        percent in 1u32..=100,
    ) {
        let prepared = write(&samples, samples_per_shard);
        let proportion = if percent == 100 { "1".to_owned() } else { format!("0.{percent:02}") };
        expect(&prepared.cache, &samples, LeadSpanProportion::WHOLE);
        expect(&prepared.cache, &samples, proportion.parse().unwrap());
    }
}

#[test]
fn samples_that_straddle_pages_and_row_groups_read_back() {
    // 12,000 positions of 0 to 509 entries: about 24 MB in one sample, between other samples.
    let shapes = |positions: u32, salt: u32| (0..positions).map(|i| ((i * 37 % 510) as usize, i ^ salt)).collect();
    let samples: Vec<Vec<Shape>> = vec![shapes(5, 1), shapes(12_000, 2), shapes(0, 3), shapes(9_000, 4)];
    let prepared = write(&samples, 8);
    let layer = prepared.cache.layers().unwrap().remove(0);
    let shard = Shard::open_in(&layer, &layer.corpus().units()[0]).unwrap();
    let rows = shard.footer().row_groups.iter().map(|group| group.positions);
    assert!(rows.len() >= 2, "the test means to cross row groups");
    assert!(
        rows.max().unwrap() as usize * 8 * 255 < 2 * blocks::ROW_GROUP_BYTES,
        "row groups are bounded"
    );
    for proportion in ["1", "0.5", "0.03"] {
        expect(&prepared.cache, &samples, proportion.parse().unwrap());
    }
}
