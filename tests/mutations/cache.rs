//! A small cache to mutate, and its shard with checksums computed anew.

use std::{fs, num::NonZeroU32, ops::Range, path::PathBuf};

use bytes::Bytes;
use leadspan_cache::{
    CODEC_VERSION, Cache, Coverage, Identity, Layer, Missing, Reader, ShardWriter, TeacherIdentity, WorkUnit, verify,
};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_distribution::{Distributions, EntrySettings, Position, codec::Precision};
use leadspan_sequence::{Sample, SectionBounds, SectionSet, Split};
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, file::metadata::KeyValue};
use serde_json::{Value, json};

use crate::mutation::Random;

/// Where the row groups of a shard begin: behind the magic and the seal.
pub(crate) const DATA_START: usize = 68;

/// A cache of one shard with three samples, in a folder of its own.
pub(crate) struct SmallCache {
    folder: tempfile::TempDir,
    layer: PathBuf,
}

pub(crate) fn settings() -> EntrySettings {
    EntrySettings {
        tail_samples: 5,
        temperatures: vec![2.0],
        ..EntrySettings::top_k(8)
    }
}

impl SmallCache {
    pub(crate) fn new(precision: Precision) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
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
            sections: json!({"thinking_start": "<think>"}),
            entries: settings(),
            precision,
            codec: CODEC_VERSION,
        };
        let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        let cache = Cache::create_or_open(folder.path(), &identity, &tokenizer).unwrap();
        let samples: Vec<Sample> = (0..3).map(sample).collect();
        let hashes: Vec<[u8; 32]> = (0..3).map(|index| [index; 32]).collect();
        cache
            .write_corpus(&samples, &hashes, NonZeroU32::new(4).unwrap(), json!({"seed": 7}))
            .unwrap();
        let coverage = Coverage {
            proportion: "1.0".parse().unwrap(),
            sections: SectionSet::ALL,
        };
        let layer = cache.layer(&Layer::from(coverage)).unwrap();
        let unit: WorkUnit = layer.corpus().units()[0].clone();
        let mut writer = ShardWriter::create(&layer, &unit).unwrap();
        for (index, sample) in samples.iter().enumerate() {
            let positions: Vec<u32> = layer.layer().positions(sample.into()).collect();
            let seed = index as u64;
            writer
                .push_sample(index as u32, &positions, &distributions(seed, positions.len()))
                .unwrap();
        }
        writer.commit().unwrap();
        let layer = layer.path().to_owned();
        Self { folder, layer }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn shard(&self) -> PathBuf {
        self.layer.join("train-000000.parquet")
    }

    /// Every file that is no table.
    pub(crate) fn json_files(&self) -> Vec<PathBuf> {
        vec![
            self.folder.path().join("identity.json"),
            self.folder.path().join("corpus/prepared.json"),
            self.layer.join("layer.json"),
            self.receipt(),
        ]
    }

    fn receipt(&self) -> PathBuf {
        self.layer.join("train-000000.json")
    }

    /// Puts `bytes` in the place of the shard, with a receipt that fits.
    pub(crate) fn put(&self, bytes: &[u8]) {
        let mut receipt: Value = serde_json::from_slice(&fs::read(self.receipt()).unwrap()).unwrap();
        receipt["shard"] = region(bytes);
        // Then the whole shard is compared, as for receipts of older programs.
        receipt.as_object_mut().unwrap().remove("tail_blake3");
        fs::write(self.receipt(), serde_json::to_vec(&receipt).unwrap()).unwrap();
        fs::write(self.shard(), bytes).unwrap();
    }
}

/// Reads all there is in a cache, as training and as verifying do.
pub(crate) fn read_all(dir: &std::path::Path) -> Result<(), String> {
    let text = |error: leadspan_cache::CacheError| format!("{error} {:?}", error.hint());
    let cache = Cache::open(dir).map_err(text)?;
    let spans = Reader::open_largest(&cache, Missing::Refused)
        .and_then(|reader| (0..reader.corpus().len() as u32).try_for_each(|index| reader.span(index).map(drop)));
    let inspected = cache.inspect().map(drop);
    let problems = verify(&cache, &mut |_| {}).map_err(text)?.problems;
    spans.and(inspected).map_err(text)?;
    problems
        .into_iter()
        .next()
        .map_or(Ok(()), |problem| Err(text(problem.error)))
}

/// Size and blake3, as they stand in a cache's descriptions.
pub(crate) fn region(bytes: &[u8]) -> Value {
    json!({"bytes": bytes.len(), "blake3": blake3::hash(bytes).to_hex().as_str()})
}

fn sample(index: usize) -> Sample {
    let tokens = 30 + 90 * index as u32;
    Sample {
        id: format!("sample {index}"),
        split: Split::Train,
        tokens: (0..tokens).map(|token| token * 7 % 300).collect(),
        bounds: SectionBounds::new(tokens / 3, tokens / 3 * 2, tokens).unwrap(),
    }
}

/// What a teacher might say at so many positions.
pub(crate) fn distributions(seed: u64, positions: usize) -> Distributions {
    let mut random = Random::new(seed);
    let mut distributions = Distributions::new();
    for _ in 0..positions {
        let entries = random.below(9);
        let ids: Vec<u32> = (0..entries as u32)
            .map(|entry| random.below(40) as u32 + 40 * entry)
            .collect();
        let step = 0.25 + random.below(100) as f32 / 100.0;
        let logprobs: Vec<f32> = (0..entries).map(|entry| -0.7 - step * entry as f32).collect();
        let drawn: Vec<u32> = (0..random.below(4) as u32)
            .map(|draw| 400 + 50 * draw + random.below(50) as u32)
            .collect();
        distributions.push(Position {
            token_ids: &ids,
            logprobs: &logprobs,
            tail_logprob: -1.5 - step,
            target_logprob: -step * 3.0,
            temperature_tails: &[step],
            sampled_token_ids: &drawn,
            sampled_draws: &vec![1; drawn.len()],
        });
    }
    distributions
}

/// A shard taken apart, so that what is changed in it can be put under checksums that hold.
pub(crate) struct Anatomy {
    pub(crate) bytes: Vec<u8>,
    tail_at: usize,
    /// The footer's entry of ours.
    pub(crate) footer: Value,
    /// Everything of the row group before the blocks.
    pub(crate) head: Range<usize>,
    /// Where each block lies, its CRC included.
    pub(crate) blocks: Vec<Range<usize>>,
}

impl Anatomy {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes.clone())).unwrap();
        let pairs: Vec<KeyValue> = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
        let footer = pairs
            .into_iter()
            .find(|pair| pair.key == "leadspan")
            .unwrap()
            .value
            .unwrap();
        let footer: Value = serde_json::from_str(&footer).unwrap();
        let head_bytes = footer["row_groups"][0]["head"]["bytes"].as_u64().unwrap() as usize;
        let mut blocks = Vec::new();
        let mut at = DATA_START + head_bytes;
        for batch in builder.build().unwrap() {
            let batch = batch.unwrap();
            let values = arrow::array::AsArray::as_binary::<i32>(batch.column(6)).clone();
            for value in values.iter().flatten() {
                let stored = [&(value.len() as u32).to_le_bytes()[..], value].concat();
                let found = bytes[at..]
                    .windows(stored.len())
                    .position(|window| window == stored)
                    .unwrap();
                blocks.push(at + found + 4..at + found + stored.len());
                at += found + stored.len();
            }
        }
        let tail_bytes = u64::from_le_bytes(bytes[28..36].try_into().unwrap()) as usize;
        Self {
            tail_at: bytes.len() - tail_bytes,
            footer,
            head: DATA_START..DATA_START + head_bytes,
            blocks,
            bytes,
        }
    }

    /// The bytes behind the row group: page index and footer.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.bytes[self.tail_at..]
    }

    /// The shard with another tail and a seal that fits.
    pub(crate) fn with_tail(&self, tail: &[u8]) -> Vec<u8> {
        sealed(&self.bytes[..self.tail_at], tail)
    }

    /// The shard with other bytes in its row group, as many as there were, and checksums that fit.
    pub(crate) fn with_data(&self, place: Range<usize>, with: &[u8]) -> Vec<u8> {
        let mut data = self.bytes[..self.tail_at].to_vec();
        data[place].copy_from_slice(with);
        let mut tail = self.tail().to_vec();
        for (part, range) in [("head", self.head.clone()), ("data", DATA_START..self.tail_at)] {
            let old = self.footer["row_groups"][0][part]["blake3"]
                .as_str()
                .unwrap()
                .as_bytes();
            let new = blake3::hash(&data[range]).to_hex();
            let at = tail.windows(old.len()).position(|window| window == old).unwrap();
            tail[at..at + old.len()].copy_from_slice(new.as_bytes());
        }
        sealed(&data, &tail)
    }
}

/// A shard of row groups, behind room for the seal, and a tail.
pub(crate) fn sealed(data: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut bytes = [data, tail].concat();
    let (all, tail_bytes) = (bytes.len() as u64, tail.len() as u64);
    bytes[4..12].copy_from_slice(b"LEADSPAN");
    bytes[12..16].copy_from_slice(&leadspan_cache::FORMAT_VERSION.to_le_bytes());
    bytes[20..28].copy_from_slice(&all.to_le_bytes());
    bytes[28..36].copy_from_slice(&tail_bytes.to_le_bytes());
    bytes[36..68].copy_from_slice(blake3::hash(tail).as_bytes());
    bytes
}
