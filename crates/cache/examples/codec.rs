//! Measures the size of a stored position, its errors and the speed of reading, for `docs/benchmarks.md`.
//!
//!     cargo run --release -p leadspan-cache --example codec -- CACHE
//!
//! CACHE holds at least 128 exact entries at each position (`cache.precision = "exact"`, `cache.top_k = 128`). Work
//! units may be missing. For k = 32, 64 and 128 and every precision, the example writes a cache of the same samples to
//! a temporary folder, with the first k entries and the rest as tail, reads it back and compares.

#![expect(clippy::print_stdout, reason = "an example that prints is a program")]

use std::{error::Error, fs, path::Path, time::Instant};

use leadspan_cache::{Cache, Coverage, Identity, Missing, Reader, ShardWriter, Span, WorkUnit};
use leadspan_distribution::{Distributions, EntrySettings, Position, codec::Precision};
use leadspan_sequence::LeadSpanProportion;

/// The number of times that each cache is read. The fastest one counts.
const READINGS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name a cache")?;
    let source = Cache::open(Path::new(&path))?;
    let layers = source.layers()?;
    let sections = layers.first().ok_or("the cache holds no layer")?.layer().sections();
    let whole = Coverage {
        proportion: LeadSpanProportion::WHOLE,
        sections,
    };
    let reader = Reader::open(&source, whole, Missing::Allowed)?;
    let stored = source.identity();
    if stored.precision != Precision::Exact || stored.entries.top_k < 128 {
        return Err("the cache must hold at least 128 exact entries a position".into());
    }
    let spans: Vec<Span> = (0..reader.corpus().len() as u32)
        .map(|sample| reader.span(sample))
        .collect::<Result<_, _>>()?;
    let positions: usize = spans.iter().map(|span| span.positions.len()).sum();
    let units: Vec<WorkUnit> = units_of(&reader);
    println!("{positions} positions in {} shards\n", units.len());
    println!(
        "  k  precision  bytes/position  mean KL   99 % KL   p95 |Δ log p|  rarest quarter  largest   positions/s"
    );
    for top_k in [32, 64, 128] {
        let truncated: Vec<Distributions> = spans.iter().map(|span| truncated(&span.distributions, top_k)).collect();
        for precision in [Precision::Standard, Precision::Fine, Precision::Exact] {
            let identity = Identity {
                entries: EntrySettings::top_k(top_k as u32),
                precision,
                ..stored.clone()
            };
            let folder = tempfile::tempdir()?;
            let cache = Cache::create_or_open(folder.path(), &identity, &[])?;
            let bytes = write(&cache, &reader, &whole, &units, &spans, &truncated)?;
            let (read, seconds) = read(&cache, &whole)?;
            let errors = Errors::of(&truncated, &read);
            println!(
                "{top_k:>3}  {:<9}  {:>14.1}  {:>8.1e}  {:>8.1e}  {:>13.3}  {:>14.3}  {:>7.3}  {:>12.0}",
                precision.as_str(),
                bytes as f64 / positions as f64,
                errors.mean_kl,
                errors.p99_kl,
                errors.p95,
                errors.rare,
                errors.largest,
                positions as f64 / seconds
            );
        }
    }
    Ok(())
}

/// The work units that the cache holds.
fn units_of(reader: &Reader) -> Vec<WorkUnit> {
    let missing: Vec<&WorkUnit> = reader.missing_units().collect();
    let units = reader.corpus().units().iter();
    units.filter(|unit| !missing.contains(unit)).cloned().collect()
}

/// The first `top_k` entries of each position; the others go to the tail.
fn truncated(distributions: &Distributions, top_k: usize) -> Distributions {
    let mut truncated = Distributions::new();
    for position in distributions.iter() {
        let (kept, dropped) = position.logprobs.split_at(top_k.min(position.logprobs.len()));
        let mass = |logprobs: &[f32]| logprobs.iter().map(|&logprob| f64::from(logprob).exp()).sum::<f64>();
        let tail = f64::from(position.tail_logprob).exp() + mass(dropped);
        truncated.push(Position {
            token_ids: &position.token_ids[..kept.len()],
            logprobs: kept,
            tail_logprob: tail.ln() as f32,
            target_logprob: position.target_logprob,
            ..Position::default()
        });
    }
    truncated
}

/// Writes the shards and returns their size in bytes.
fn write(
    cache: &Cache,
    source: &Reader,
    whole: &Coverage,
    units: &[WorkUnit],
    spans: &[Span],
    distributions: &[Distributions],
) -> Result<u64, Box<dyn Error>> {
    let corpus = source.corpus();
    let samples: Vec<_> = (0..corpus.len())
        .map(|index| corpus.owned_sample(index))
        .collect::<Result<_, _>>()?;
    let row_hashes: Vec<_> = (0..corpus.len()).map(|index| *corpus.row_hash(index)).collect();
    cache.write_corpus(
        &samples,
        &row_hashes,
        corpus.samples_per_shard(),
        corpus.provenance().clone(),
    )?;
    let layer = cache.layers_to_capture(whole)?.remove(0);
    let mut bytes = 0;
    for unit in units {
        let mut writer = ShardWriter::create(&layer, unit)?;
        for sample in unit.samples.clone() {
            writer.push_sample(sample as u32, &spans[sample].positions, &distributions[sample])?;
        }
        writer.commit()?;
        bytes += fs::metadata(layer.shard_path(unit))?.len();
    }
    Ok(bytes)
}

/// Reads everything on one thread several times. Returns it with the time of the fastest reading, in seconds.
fn read(cache: &Cache, whole: &Coverage) -> Result<(Vec<Distributions>, f64), Box<dyn Error>> {
    let mut fastest = f64::INFINITY;
    let mut read = Vec::new();
    for _ in 0..READINGS {
        let reader = Reader::open(cache, *whole, Missing::Allowed)?;
        let samples = reader.corpus().len() as u32;
        read.clear();
        let started = Instant::now();
        for sample in 0..samples {
            read.push(reader.span(sample)?.distributions);
        }
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    Ok((read, fastest))
}

/// The differences between the distributions that were written and those that were read.
struct Errors {
    mean_kl: f64,
    p99_kl: f64,
    /// 95th percentile of the entries' |Δ log p|.
    p95: f64,
    /// The same for the least probable quarter of the entries of each position.
    rare: f64,
    largest: f64,
}

impl Errors {
    fn of(written: &[Distributions], read: &[Distributions]) -> Self {
        let (mut divergences, mut all, mut rare) = (Vec::new(), Vec::new(), Vec::new());
        let positions = written.iter().flat_map(Distributions::iter);
        for (written, read) in positions.zip(read.iter().flat_map(Distributions::iter)) {
            let mut by_id: Vec<(u32, f32)> = read
                .token_ids
                .iter()
                .copied()
                .zip(read.logprobs.iter().copied())
                .collect();
            by_id.sort_unstable_by_key(|&(id, _)| id);
            let mut divergence = term(written.tail_logprob, read.tail_logprob);
            for (rank, (id, &logprob)) in written.token_ids.iter().zip(written.logprobs).enumerate() {
                let place = by_id.binary_search_by_key(id, |&(id, _)| id).expect("no entry is lost");
                divergence += term(logprob, by_id[place].1);
                let error = f64::from((by_id[place].1 - logprob).abs());
                all.push(error);
                if rank >= written.token_ids.len() / 4 * 3 {
                    rare.push(error);
                }
            }
            divergences.push(divergence);
        }
        let count = divergences.len() as f64;
        Self {
            mean_kl: divergences.iter().sum::<f64>() / count,
            p99_kl: quantile(&mut divergences, 0.99),
            largest: all.iter().copied().fold(0.0, f64::max),
            p95: quantile(&mut all, 0.95),
            rare: quantile(&mut rare, 0.95),
        }
    }
}

/// p · (log p − log q).
fn term(logprob: f32, other: f32) -> f64 {
    let logprob = f64::from(logprob);
    logprob.exp() * (logprob - f64::from(other))
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    let place = (share * values.len() as f64) as usize;
    *values.select_nth_unstable_by(place, f64::total_cmp).1
}
