//! Imports of what DistillKit wrote, of exports, and of files that say what cannot be.

mod captured;
mod exported;
mod forged;
mod strange;

use leadspan_distribution::{Distributions, Position};

use super::*;
use crate::{Coverage, FileLimits, FolderSettings, Layer, Missing, Reader, Span, tests::synthetic};

const TOKENIZER: &str = "tokenizer";
const VOCABULARY: u32 = 50_000;

fn settings<'a>(files: &'a [PathBuf], tokenizer_files: &'a [(String, Vec<u8>)]) -> ImportSettings<'a> {
    ImportSettings {
        files,
        compression_config: None,
        tokenizer_files,
        tokenizer: TOKENIZER,
        chat_template: "template",
        vocabulary: Vocabulary {
            of_tokenizer: VOCABULARY,
            of_model: VOCABULARY,
            given: None,
        },
        precision: Precision::Exact,
        samples_per_shard: NonZeroU32::new(2).unwrap(),
    }
}

fn imported(dir: &Path, files: &[PathBuf]) -> Result<Option<Imported>, ImportError> {
    import(
        dir,
        &settings(files, &[]),
        &AtomicBool::new(false),
        &mut |_| {},
        &mut |_| {},
    )
}

/// Everything that a cache holds at `asked`.
fn spans(cache: &Cache, asked: Coverage) -> Vec<Span> {
    let reader = Reader::open(cache, asked, Missing::Refused).unwrap();
    (0..reader.corpus().len() as u32)
        .map(|index| reader.span(index).unwrap())
        .collect()
}

/// A cache of distributions that sum to one.
fn captured(dir: &Path, coverage: Coverage) -> Cache {
    let mut identity = synthetic::identity();
    identity.entries = EntrySettings::top_k(4);
    let cache = Cache::create_or_open(dir, &identity, &[]).unwrap();
    let corpus = synthetic::corpus(11, 3, 4);
    let (samples, hashes) = (synthetic::samples_of(&corpus), synthetic::row_hashes_of(&corpus));
    cache
        .write_corpus(&samples, &hashes, corpus.samples_per_shard(), serde_json::Value::Null)
        .unwrap();
    let layer = cache.layer(&Layer::from(coverage)).unwrap();
    for unit in layer.corpus().units() {
        let mut writer = ShardWriter::create(&layer, unit).unwrap();
        for index in unit.samples.clone() {
            let sample = layer.corpus().sample(index);
            let positions: Vec<u32> = layer.layer().positions(sample).collect();
            let tokens = layer.corpus().tokens(index).unwrap();
            let mut distributions = Distributions::new();
            for &position in &positions {
                let target = tokens[position as usize + 1];
                let whole = 16.0 + f64::from(position % 5);
                let logprobs = [8.0, 4.0, 2.0, 1.0].map(|part| (part / whole).ln() as f32);
                let rank = position % 4;
                let ids = [0, 1, 2, 3].map(|entry| (target + VOCABULARY + 7 * entry - 7 * rank) % VOCABULARY);
                distributions.push(Position {
                    token_ids: &ids,
                    logprobs: &logprobs,
                    tail_logprob: ((whole - 15.0) / whole).ln() as f32,
                    target_logprob: logprobs[rank as usize],
                    ..Position::default()
                });
            }
            writer.push_sample(index as u32, &positions, &distributions).unwrap();
        }
        writer.commit().unwrap();
    }
    cache
}

fn folder_settings() -> FolderSettings {
    FolderSettings {
        proportion: None,
        missing: Missing::Refused,
        limits: FileLimits {
            rows: 100,
            bytes: 1 << 20,
        },
        fidelity: None,
        license: None,
        overwrite: false,
    }
}
