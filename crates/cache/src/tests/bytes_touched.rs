//! The number of bytes that reading touches: for prefixes of all samples, and for single samples.

use leadspan_distribution::{Distributions, EntrySettings, Position, codec::Precision};
use leadspan_sequence::{SectionSet, Split};

use crate::{Cache, Identity, Missing, Reader, ShardWriter, tests::synthetic};

/// A cache of samples of 100 to 2,000 tokens, with sixteen entries at each position. Small ids are
/// frequent.
fn captured() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity {
        entries: EntrySettings::top_k(16),
        precision: Precision::Standard,
        ..synthetic::identity()
    };
    let cache = Cache::create_or_open(folder.path(), &identity, &[]).unwrap();
    let tokens: Vec<usize> = (0..48).map(|index| 100 + index * 37 % 48 * 40).collect();
    let corpus = synthetic::corpus_of(&tokens, 44, 22);
    let provenance = corpus.provenance().clone();
    cache
        .write_corpus(
            &synthetic::samples_of(&corpus),
            &synthetic::row_hashes_of(&corpus),
            corpus.samples_per_shard(),
            provenance,
        )
        .unwrap();
    let layer = cache.layer(&synthetic::coverage("1", SectionSet::ALL).into()).unwrap();
    for unit in layer.missing_units().unwrap() {
        let mut writer = ShardWriter::create(&layer, &unit).unwrap();
        for index in unit.samples.clone() {
            let positions: Vec<u32> = layer.layer().positions(corpus.sample(index)).collect();
            let mut distributions = Distributions::new();
            for &position in &positions {
                let seed = |rank: u64| {
                    (u64::from(position) * 977 + index as u64 * 131 + rank * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                };
                let token_ids: Vec<u32> = (0..16)
                    .map(|rank| {
                        let u = (seed(rank) >> 40) as f64 / (1u64 << 24) as f64;
                        rank as u32 + 16 * (u * u * u * 3000.0) as u32
                    })
                    .collect();
                let logprobs: Vec<f32> = (0..16)
                    .map(|rank| -1.6 - rank as f32 * 0.3 - (position % 7) as f32 * 0.01)
                    .collect();
                let mass: f64 = logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum();
                distributions.push(Position {
                    token_ids: &token_ids,
                    logprobs: &logprobs,
                    tail_logprob: (1.0 - mass).ln() as f32,
                    target_logprob: -2.0,
                    ..Position::default()
                });
            }
            writer.push_sample(index as u32, &positions, &distributions).unwrap();
        }
        writer.commit().unwrap();
    }
    (folder, cache)
}

fn open(cache: &Cache, proportion: &str) -> Reader {
    Reader::open(
        cache,
        synthetic::coverage(proportion, SectionSet::ALL),
        Missing::Refused,
    )
    .unwrap()
}

/// The number of bytes of heads and blocks that are read for the training samples.
fn touched(cache: &Cache, proportion: &str) -> u64 {
    let reader = open(cache, proportion);
    for sample in reader.corpus().of_split(Split::Train) {
        reader.span(sample).unwrap();
    }
    reader.bytes_read().heads + reader.bytes_read().blocks
}

#[test]
fn reading_a_proportion_touches_that_share_of_the_bytes_and_a_twentieth_more_at_most() {
    let (_folder, cache) = captured();
    let whole = touched(&cache, "1");
    for proportion in ["0.1", "0.25", "0.5", "0.75"] {
        let share = touched(&cache, proportion) as f64 / whole as f64;
        let asked: f64 = proportion.parse().unwrap();
        assert!(share <= asked + 0.05, "{proportion}: {share}");
        assert!(
            share > asked - 0.05,
            "{proportion}: {share}, which is too good to be true"
        );
    }
    // Nothing is read twice: at most the training shards themselves are read.
    let layer = cache.layers().unwrap().remove(0);
    let units = layer.corpus().units().iter().filter(|unit| unit.split == Split::Train);
    let files: u64 = units.map(|unit| layer.shard_path(unit).metadata().unwrap().len()).sum();
    assert!(whole < files && whole > files * 9 / 10, "{whole} of {files}");
}

#[test]
fn a_sample_costs_the_same_bytes_whenever_it_is_read() {
    let (_folder, cache) = captured();
    let reader = open(&cache, "0.4");
    let samples: Vec<u32> = reader.corpus().of_split(Split::Train).collect();
    let bytes = |sample: &u32| reader.span_and_bytes(*sample).unwrap().1;
    let first: Vec<u64> = samples.iter().map(bytes).collect();
    // Every head is in memory now.
    let heads = reader.bytes_read().heads;
    let again: Vec<u64> = samples.iter().rev().map(bytes).collect();
    assert!(first.iter().eq(again.iter().rev()) && first.iter().all(|&bytes| bytes > 0));
    assert_eq!(reader.bytes_read().heads, heads);
    assert_eq!(reader.bytes_read().blocks, 2 * first.iter().sum::<u64>());
    // Reading only tokens reads no blocks.
    let tokens = Reader::open_corpus(&cache, synthetic::coverage("0.4", SectionSet::ALL)).unwrap();
    assert_eq!(tokens.span_and_bytes(samples[0]).unwrap().1, 0);
}

#[test]
fn reading_one_sample_touches_at_most_four_times_its_own_bytes() {
    let (_folder, cache) = captured();
    let samples = cache.require_corpus().unwrap().len() as u32;
    let mut ratios: Vec<f64> = (0..samples)
        .map(|sample| {
            let reader = open(&cache, "1");
            reader.span(sample).unwrap();
            let read = reader.bytes_read();
            (read.heads + read.blocks) as f64 / read.blocks as f64
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    // The head of a row group is read once and kept. It is larger than the sample only for the shortest samples.
    assert!(ratios[ratios.len() / 2] < 1.5, "{ratios:?}");
    assert!(ratios[ratios.len() - 3] <= 4.0, "{ratios:?}");
}
