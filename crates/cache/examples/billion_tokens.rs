//! Makes a corpus of a billion tokens in 500,000 samples, and measures how long it takes to open and what that holds.
//!
//! ```sh
//! cargo run --release -p leadspan-cache --example billion_tokens -- FOLDER
//! ```
//!
//! The corpus takes 4 GB. It is made if FOLDER has none; delete FOLDER afterwards.
//!
//! If FOLDER is a cache whose `corpus/prepared.json` was moved to `FOLDER/provenance.json`, the new corpus has the provenance
//! of the moved one. `precompute` then takes it for the corpus of the pipeline's data, so commands can be measured on it.

#![allow(clippy::print_stdout, reason = "an example prints what it measured")]

use std::{error::Error, fs, io, num::NonZeroU32, path::PathBuf, time::Instant};

use leadspan_cache::{Cache, CacheError, Identity, SampleRef};
use leadspan_distribution::{EntrySettings, codec::Precision};
use leadspan_sequence::{SectionBounds, Split};
use serde_json::Value;

const SAMPLES: u32 = 500_000;
const VALIDATION: u32 = 1_000;
const MEAN_TOKENS: u32 = 2_000;
const SAMPLES_A_SHARD: u32 = 1_024;
/// Below every vocabulary.
const TOKENS: u32 = 200;

/// The memory of this process in MB: what is resident, and what of that is not mapped from files.
fn memory() -> Result<(u64, u64), Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib / 1024)
            .ok_or_else(|| format!("the system does not tell {key}"))
    };
    Ok((of("VmRSS:")?, of("RssAnon:")?))
}

/// What the new corpus says about how it was prepared.
fn provenance(cache: &Cache) -> Result<Value, Box<dyn Error>> {
    match fs::read(cache.dir().join("provenance.json")) {
        Ok(bytes) => Ok(serde_json::from_slice::<Value>(&bytes)?["facts"].take()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(error.into()),
    }
}

fn make(cache: &Cache, provenance: Value) -> Result<(), CacheError> {
    let split = |index| {
        if index < SAMPLES - VALIDATION {
            Split::Train
        } else {
            Split::Validation
        }
    };
    let splits: Vec<Split> = (0..SAMPLES).map(split).collect();
    let size = NonZeroU32::new(SAMPLES_A_SHARD).expect("it is not zero");
    cache.write_corpus_with(&splits, size, provenance, &mut |writer| {
        for index in 0..SAMPLES {
            // Lengths of 1,000 to 3,000 tokens.
            let tokens = MEAN_TOKENS / 2 + index.wrapping_mul(2_654_435_761) % (MEAN_TOKENS + 1);
            let bounds = SectionBounds::new(tokens / 8, tokens / 8 * 7, tokens).expect("they ascend");
            let id = format!("sample-{index:06}");
            let tokens: Vec<u32> = (0..tokens)
                .map(|place| (index ^ place.wrapping_mul(2_246_822_519)) % TOKENS)
                .collect();
            let sample = SampleRef {
                id: &id,
                split: split(index),
                bounds,
            };
            writer.push(sample, &tokens, blake3::hash(id.as_bytes()).as_bytes())?;
        }
        Ok(())
    })?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("where is the cache to be made?")?);
    let cache = match Cache::open(&folder) {
        Ok(cache) => cache,
        Err(CacheError::NotACache { .. }) => {
            let identity = Identity {
                teacher: None,
                tokenizer: "none".into(),
                chat_template: "none".into(),
                sections: Value::Null,
                entries: EntrySettings::top_k(8),
                precision: Precision::Standard,
                codec: leadspan_cache::CODEC_VERSION,
            };
            Cache::create_or_open(&folder, &identity, &[])?
        }
        Err(error) => return Err(error.into()),
    };
    if cache.count_corpus_parts()? == 0 {
        let began = Instant::now();
        make(&cache, provenance(&cache)?)?;
        println!(
            "made in {:.1} s; run this again to measure opening",
            began.elapsed().as_secs_f64()
        );
        return Ok(());
    }
    let before = memory()?;
    let began = Instant::now();
    let corpus = cache.require_corpus()?;
    let seconds = began.elapsed().as_secs_f64();
    let opened = memory()?;
    println!(
        "{} samples, {} tokens: opened in {seconds:.3} s, {} MB resident ({} MB of them not mapped; {} MB before)",
        corpus.len(),
        corpus.total_tokens(),
        opened.0,
        opened.1,
        before.0
    );
    let began = Instant::now();
    let mut sum = 0u64;
    for index in (0..corpus.len()).step_by(500) {
        sum += corpus.tokens(index)?.iter().map(|&token| u64::from(token)).sum::<u64>();
    }
    println!(
        "1,000 samples read in {:.3} s, {} MB resident (sum {sum})",
        began.elapsed().as_secs_f64(),
        memory()?.0
    );
    Ok(())
}
