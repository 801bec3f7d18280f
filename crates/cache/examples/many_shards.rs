//! Measures the time and the memory that opening a cache of many shards takes, for `docs/benchmarks.md`.
//!
//!     cargo run --release -p leadspan-cache --example many_shards -- FOLDER [SHARDS]
//!
//! Writes a cache of SHARDS synthetic shards (default 10,000) to FOLDER/cache if there is none yet, then opens it for
//! training and reads one sample of every thousandth shard. For the memory, run it a second time: that run writes
//! nothing.

#![expect(clippy::print_stdout, reason = "an example that prints is a program")]

use std::{error::Error, fs, num::NonZeroU32, path::Path, time::Instant};

use leadspan_cache::{Cache, Coverage, Identity, Missing, Reader, ShardWriter, TeacherIdentity};
use leadspan_distribution::{Distributions, EntrySettings, Position, codec::Precision};
use leadspan_sequence::{LeadSpanProportion, Sample, SectionBounds, SectionSet, Split};

const SAMPLES_A_SHARD: u32 = 8;
const TOKENS: u32 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("name a folder")?;
    let shards: u32 = arguments.next().map_or(Ok(10_000), |count| count.parse())?;
    let dir = Path::new(&folder).join("cache");
    let whole = Coverage {
        proportion: LeadSpanProportion::WHOLE,
        sections: SectionSet::ALL,
    };
    let started = Instant::now();
    let written = write(&dir, shards, &whole)?;
    println!("wrote {written} shards in {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let cache = Cache::open(&dir)?;
    let reader = Reader::open(&cache, whole, Missing::Refused)?;
    println!(
        "opened {} shards of {} samples in {:.2} s; the process has held {:.0} MB at most",
        reader.corpus().units().len(),
        reader.corpus().len(),
        started.elapsed().as_secs_f64(),
        peak_bytes() as f64 / 1e6
    );
    let started = Instant::now();
    let chosen: Vec<u32> = (0..shards).step_by(1000).map(|unit| unit * SAMPLES_A_SHARD).collect();
    for &sample in &chosen {
        reader.span(sample)?;
    }
    let each = started.elapsed() / chosen.len() as u32;
    println!("the first sample of a shard takes {:.2} ms", each.as_secs_f64() * 1e3);
    Ok(())
}

fn write(dir: &Path, shards: u32, whole: &Coverage) -> Result<usize, Box<dyn Error>> {
    let identity = Identity {
        teacher: Some(TeacherIdentity {
            config_blake3: String::new(),
            weights_blake3: String::new(),
            lora_blake3: None,
            dtype: "f32".to_owned(),
            server: None,
            imported: None,
        }),
        tokenizer: String::new(),
        chat_template: String::new(),
        sections: serde_json::Value::Null,
        entries: EntrySettings::top_k(8),
        precision: Precision::Standard,
        codec: leadspan_cache::CODEC_VERSION,
    };
    let cache = Cache::create_or_open(dir, &identity, &[])?;
    if cache.corpus()?.is_none() {
        let sample = |index: u32| {
            Ok(Sample {
                id: format!("sample-{index}"),
                split: Split::Train,
                tokens: (0..TOKENS).map(|token| (index + token * 31) % 50_000).collect(),
                bounds: SectionBounds::new(TOKENS / 4, TOKENS / 2, TOKENS)?,
            })
        };
        let samples: Vec<Sample> = (0..shards * SAMPLES_A_SHARD)
            .map(sample)
            .collect::<Result<_, Box<dyn Error>>>()?;
        let hashes: Vec<[u8; 32]> = samples
            .iter()
            .map(|sample| *blake3::hash(sample.id.as_bytes()).as_bytes())
            .collect();
        let samples_a_shard = NonZeroU32::new(SAMPLES_A_SHARD).expect("it is not zero");
        cache.write_corpus(&samples, &hashes, samples_a_shard, serde_json::Value::Null)?;
    }
    let mut written = 0;
    for layer in cache.layers_to_capture(whole)? {
        for unit in layer.missing_units()? {
            let mut writer = ShardWriter::create(&layer, &unit)?;
            for index in unit.samples.clone() {
                let positions: Vec<u32> = layer.layer().positions(layer.corpus().sample(index)).collect();
                writer.push_sample(index as u32, &positions, &distributions(index, positions.len()))?;
            }
            writer.commit()?;
            written += 1;
        }
    }
    Ok(written)
}

fn distributions(sample: usize, positions: usize) -> Distributions {
    let mut distributions = Distributions::new();
    let logprobs: [f32; 8] = std::array::from_fn(|rank| -1.0 - rank as f32 / 2.0);
    let mass: f64 = logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum();
    for position in 0..positions {
        let token_ids: [u32; 8] =
            std::array::from_fn(|rank| (sample * 7 + position * 13 + rank * 6151) as u32 % 50_000);
        distributions.push(Position {
            token_ids: &token_ids,
            logprobs: &logprobs,
            tail_logprob: (1.0 - mass).ln() as f32,
            target_logprob: -3.0,
            ..Position::default()
        });
    }
    distributions
}

/// The peak memory of the process in bytes; 0 if the system does not state it. It means little if the process has just
/// written the shards.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    1024 * kilobytes.unwrap_or(0)
}
