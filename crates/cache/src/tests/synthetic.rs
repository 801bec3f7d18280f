//! Synthetic corpora, distributions and caches for the tests of this crate. All depend only on their arguments.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use leadspan_distribution::{Distributions, EntrySettings, Position, codec::Precision};
use leadspan_sequence::{Sample, SectionBounds, SectionSet, Split};
use serde_json::json;

use crate::{
    Cache, CacheError, Coverage, Identity, Layer, LayerDir, PreparedCorpus, ShardWriter, TeacherIdentity, WorkUnit,
};

/// A cache in a folder that is removed when this is dropped.
pub(crate) struct Prepared {
    pub(crate) cache: Cache,
    _folder: tempfile::TempDir,
}

pub(crate) fn identity() -> Identity {
    Identity {
        teacher: Some(TeacherIdentity {
            config_blake3: "config".into(),
            weights_blake3: "weights".into(),
            lora_blake3: None,
            dtype: "f32".into(),
            server: None,
            imported: None,
        }),
        tokenizer: "tokenizer".into(),
        chat_template: "template".into(),
        sections: json!({"thinking_start": "<think>", "thinking_end": "</think>", "without_markers": "skip"}),
        entries: EntrySettings {
            tail_samples: 5,
            temperatures: vec![2.0],
            ..EntrySettings::top_k(512)
        },
        precision: Precision::Exact,
        codec: crate::CODEC_VERSION,
    }
}

pub(crate) fn coverage(proportion: &str, sections: SectionSet) -> Coverage {
    Coverage {
        proportion: proportion.parse().unwrap(),
        sections,
    }
}

pub(crate) fn sample(index: usize, split: Split, tokens: usize) -> Sample {
    let (third, two_thirds) = (tokens as u32 / 3, tokens as u32 * 2 / 3);
    Sample {
        id: format!("sample {index}"),
        split,
        tokens: (0..tokens).map(|token| random(index, token, 0) % 50_000).collect(),
        bounds: SectionBounds::new(third, two_thirds, tokens as u32).unwrap(),
    }
}

/// `train` training samples and `validation` validation samples of 1 to 41 tokens.
pub(crate) fn corpus(train: usize, validation: usize, samples_per_shard: u32) -> PreparedCorpus {
    let tokens: Vec<usize> = (0..train + validation)
        .map(|index| 5 + index * 7 % 37 - 4 * usize::from(index == 3))
        .collect();
    corpus_of(&tokens, train, samples_per_shard)
}

pub(crate) fn corpus_of(tokens: &[usize], train: usize, samples_per_shard: u32) -> PreparedCorpus {
    let split = |index| if index < train { Split::Train } else { Split::Validation };
    let samples: Vec<Sample> = (0..tokens.len())
        .map(|index| sample(index, split(index), tokens[index]))
        .collect();
    let samples_per_shard = NonZeroU32::new(samples_per_shard).unwrap();
    PreparedCorpus::first(&samples, &row_hashes(&samples), samples_per_shard, json!({"seed": 7})).unwrap()
}

/// One hash for each sample.
pub(crate) fn row_hashes(samples: &[Sample]) -> Vec<[u8; 32]> {
    let hash = |sample: &Sample| *blake3::hash(sample.id.as_bytes()).as_bytes();
    samples.iter().map(hash).collect()
}

/// All samples of a corpus.
pub(crate) fn samples_of(corpus: &PreparedCorpus) -> Vec<Sample> {
    let samples = (0..corpus.len()).map(|index| corpus.owned_sample(index).unwrap());
    samples.collect()
}

/// The row hashes of a corpus.
pub(crate) fn row_hashes_of(corpus: &PreparedCorpus) -> Vec<[u8; 32]> {
    (0..corpus.len()).map(|index| *corpus.row_hash(index)).collect()
}

/// `count` training samples that follow the first `before` samples of a corpus.
pub(crate) fn appended(before: usize, count: usize) -> Vec<Sample> {
    let tokens = |index| 4 + index * 5 % 23;
    (before..before + count)
        .map(|index| sample(index, Split::Train, tokens(index)))
        .collect()
}

fn store(corpus: &PreparedCorpus) -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    let files = [("tokenizer.json".to_owned(), b"{}".to_vec())];
    let cache = Cache::create_or_open(folder.path(), &identity(), &files).unwrap();
    let provenance = corpus.provenance().clone();
    cache
        .write_corpus(
            &samples_of(corpus),
            &row_hashes_of(corpus),
            corpus.samples_per_shard(),
            provenance,
        )
        .unwrap();
    Prepared { cache, _folder: folder }
}

/// A cache with a corpus and no layer.
pub(crate) fn prepared(train: usize, validation: usize, samples_per_shard: u32) -> Prepared {
    store(&corpus(train, validation, samples_per_shard))
}

/// A cache whose training samples have these lengths.
pub(crate) fn prepared_with_tokens(tokens: &[usize], samples_per_shard: u32) -> Prepared {
    store(&corpus_of(tokens, tokens.len(), samples_per_shard))
}

/// A cache of three training units and one validation unit with one complete layer.
pub(crate) fn captured(proportion: &str, sections: SectionSet) -> Prepared {
    let prepared = prepared(11, 3, 4);
    capture(&prepared.cache, &coverage(proportion, sections).into());
    prepared
}

/// Writes every missing shard of a layer.
pub(crate) fn capture(cache: &Cache, layer: &Layer) -> LayerDir {
    let layer = cache.layer(layer).unwrap();
    for unit in layer.missing_units().unwrap() {
        write_shard(&layer, &unit);
    }
    layer
}

pub(crate) fn write_shard(layer: &LayerDir, unit: &WorkUnit) {
    try_write_shard(layer, unit, None).unwrap();
}

pub(crate) fn try_write_shard(layer: &LayerDir, unit: &WorkUnit, device_class: Option<&str>) -> Result<(), CacheError> {
    let mut writer = ShardWriter::create(layer, unit)?;
    if let Some(device_class) = device_class {
        writer = writer.with_device_class(device_class);
    }
    for index in unit.samples.clone() {
        let sample = layer.corpus().sample(index);
        let positions: Vec<u32> = layer.layer().positions(sample).collect();
        writer.push_sample(
            index as u32,
            &positions,
            &distributions(layer.corpus(), index, &positions),
        )?;
    }
    writer.commit().map(drop)
}

/// Writes a shard of distributions whose probabilities sum to one, of 8 entries each.
pub(crate) fn try_write_plausible(layer: &LayerDir, unit: &WorkUnit) -> Result<(), CacheError> {
    let mut writer = ShardWriter::create(layer, unit)?;
    for index in unit.samples.clone() {
        let positions: Vec<u32> = layer.layer().positions(layer.corpus().sample(index)).collect();
        let mut distributions = Distributions::new();
        for &position in &positions {
            let step = 0.15 + f64::from(random(index, position as usize, 5) % 100) / 100.0;
            let masses: Vec<f64> = (0..8).map(|entry| (-step * f64::from(entry)).exp()).collect();
            let all = masses.iter().sum::<f64>() * 1.25;
            let ids: Vec<u32> = (0..8)
                .map(|entry| random(index, position as usize, 6) % 900 + 901 * entry)
                .collect();
            let logprobs: Vec<f32> = masses.iter().map(|mass| (mass / all).ln() as f32).collect();
            distributions.push(Position {
                token_ids: &ids,
                logprobs: &logprobs,
                tail_logprob: 0.2f32.ln(),
                target_logprob: -step as f32,
                temperature_tails: &[step as f32],
                ..Position::default()
            });
        }
        writer.push_sample(index as u32, &positions, &distributions)?;
    }
    writer.commit().map(drop)
}

/// Distributions at these positions, with 0 to 8 entries, which depend only on the sample and the position.
pub(crate) fn distributions(corpus: &PreparedCorpus, index: usize, positions: &[u32]) -> Distributions {
    let first_token = corpus.tokens(index).unwrap()[0] as usize;
    let mut distributions = Distributions::new();
    for &position in positions {
        let seed = |salt: usize| random(first_token, position as usize, salt + 1);
        let entries = seed(0) as usize % 9;
        let ids: Vec<u32> = (0..entries as u32)
            .map(|entry| seed(1) % 10_000 + 10_000 * entry)
            .collect();
        let step = 0.25 + (seed(99) % 100) as f32 / 100.0;
        let logprobs: Vec<f32> = (0..entries).map(|entry| -0.7 - step * entry as f32).collect();
        let tail = if seed(98) % 16 == 0 {
            f32::NEG_INFINITY
        } else {
            -1.5 - step
        };
        let drawn: Vec<u32> = (0..entries as u32 / 3)
            .map(|draw| draw * 1000 + seed(97) % 1000)
            .collect();
        distributions.push(Position {
            token_ids: &ids,
            logprobs: &logprobs,
            tail_logprob: tail,
            target_logprob: -step * 3.0,
            temperature_tails: &[step],
            sampled_token_ids: &drawn,
            sampled_draws: &vec![seed(96) % 9 + 1; drawn.len()],
        });
    }
    distributions
}

/// A number that looks random.
fn random(a: usize, b: usize, c: usize) -> u32 {
    let bytes = [a, b, c].map(usize::to_le_bytes).concat();
    u32::from_le_bytes(blake3::hash(&bytes).as_bytes()[..4].try_into().unwrap())
}

/// The contents of every file of a cache, by path.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}
