//! Times the capture of a teacher against its bare forward pass, for the figures in `docs/benchmarks.md`.
//!
//!     cargo run --release -p leadspan-precompute --example capture -- PIPELINE [--samples N] [--rounds N] [--json]
//!
//! In each round the first N training samples of the pipeline go through the teacher twice. *Bare*: hidden states and the
//! logits of all positions that the cache would hold, in the same chunks, and nothing else. *Capture*: what `leadspan
//! precompute` does, into a cache in a temporary folder. Both are timed from the end of their first batch, so that loading the
//! teacher and preparing the corpus do not count; the capture is timed until its shard is committed. The example also times
//! the parts of a loop that does forward pass, head and selection one after the other.

#![expect(clippy::print_stdout, reason = "an example that prints is a program")]

use std::{error::Error, fs, path::Path, sync::atomic::AtomicBool, time::Instant};

use candle_core::Tensor;
use leadspan_cache::Cache;
use leadspan_distribution::{EntrySettings, Row, reduce};
use leadspan_model::{Decoder, Packed, Stop, open_device};
use leadspan_precompute::{DataCheck, Event, Outcome, Pipeline, ServerAuthorities, prepare, run};
use leadspan_sequence::Sample;
use leadspan_workers::Worker;
use serde::de::DeserializeOwned;
use serde_json::json;

struct Arguments {
    pipeline: String,
    samples: usize,
    rounds: usize,
    json: bool,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let mut arguments = Arguments {
        pipeline: given.next().ok_or("name a pipeline file")?,
        samples: 48,
        rounds: 3,
        json: false,
    };
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("`{name}` needs a value"));
        match name.as_str() {
            "--samples" => arguments.samples = value()?.parse()?,
            "--rounds" => arguments.rounds = value()?.parse()?,
            "--json" => arguments.json = true,
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    Ok(arguments)
}

/// A table of a pipeline file; empty if the file does not have it.
fn table<T: DeserializeOwned>(tables: &toml::Table, name: &str) -> Result<T, Box<dyn Error>> {
    let empty = toml::Value::Table(toml::Table::new());
    Ok(tables.get(name).unwrap_or(&empty).clone().try_into()?)
}

/// The pipeline of a file, with another cache whose first unit has just the wanted samples.
fn pipeline_of(arguments: &Arguments, cache: &Path) -> Result<Pipeline, Box<dyn Error>> {
    let path = fs::canonicalize(&arguments.pipeline)?;
    let tables: toml::Table = fs::read_to_string(&path)?.parse()?;
    let mut pipeline = Pipeline {
        server_key: None,
        server_authorities: ServerAuthorities::default(),
        base: path.parent().ok_or("a pipeline file is in a folder")?.to_owned(),
        teacher: table(&tables, "teacher")?,
        data: table(&tables, "data")?,
        sections: table(&tables, "sections")?,
        cache: table(&tables, "cache")?,
        data_check: DataCheck::default(),
        available_memory: None,
    };
    cache.clone_into(&mut pipeline.cache.dir);
    pipeline.cache.samples_per_shard = u32::try_from(arguments.samples)?;
    Ok(pipeline)
}

/// Tokens and seconds of some batches, without the first.
#[derive(Clone, Copy, Default)]
struct Timed {
    tokens: u64,
    seconds: f64,
}

/// Seconds of the parts of a capture, one after the other.
#[derive(Default)]
struct Parts {
    forward: f64,
    head: f64,
    selection: f64,
}

/// Divides samples in their order into batches, as the capture does.
fn batches_of(samples: &[Sample], budget: usize) -> Vec<Vec<&Sample>> {
    let mut batches: Vec<Vec<&Sample>> = Vec::new();
    let mut tokens = 0;
    for sample in samples {
        let fed = sample.tokens.len() - 1;
        tokens += fed;
        match batches.last_mut() {
            Some(batch) if tokens <= budget => batch.push(sample),
            _ => {
                tokens = fed;
                batches.push(vec![sample]);
            }
        }
    }
    batches
}

/// Forward pass and head of all positions, and selection if there are `entries`.
fn bare(
    decoder: &Decoder,
    batches: &[Vec<&Sample>],
    chunk_rows: usize,
    entries: Option<&EntrySettings>,
) -> Result<(Timed, Parts), Box<dyn Error>> {
    let vocabulary = decoder.config().vocab_size;
    let (mut timed, mut parts) = (Timed::default(), Parts::default());
    let mut began = Instant::now();
    for (index, batch) in batches.iter().enumerate() {
        if index == 1 {
            (began, parts) = (Instant::now(), Parts::default());
        }
        let fed = |sample: &&'_ Sample| sample.tokens.len() - 1;
        let packed = Packed::new(batch.iter().map(|sample| &sample.tokens[..sample.tokens.len() - 1]));
        let rows: Vec<Row> = (batch.iter())
            .flat_map(|sample| &sample.tokens[1..])
            .map(|&target| Row { target, seed: 0 })
            .collect();
        let mut lap = Instant::now();
        let mut spent = |part: &mut f64| {
            *part += lap.elapsed().as_secs_f64();
            lap = Instant::now();
        };
        let hidden = decoder.hidden_states(&packed, Stop::NEVER)?;
        spent(&mut parts.forward);
        let places: Vec<u32> = (0..rows.len() as u32).collect();
        for (places, rows) in places.chunks(chunk_rows).zip(rows.chunks(chunk_rows)) {
            let places = Tensor::from_slice(places, places.len(), decoder.device())?;
            let logits = decoder.logits(&hidden.index_select(&places, 0)?)?;
            spent(&mut parts.head);
            if let Some(entries) = entries {
                let values: Vec<f32> = logits.flatten_all()?.to_vec1()?;
                spent(&mut 0.0);
                reduce(&values, vocabulary, rows, entries)?;
                spent(&mut parts.selection);
            }
        }
        if index > 0 {
            timed.tokens += batch.iter().map(|sample| fed(sample) as u64).sum::<u64>();
        }
    }
    timed.seconds = began.elapsed().as_secs_f64();
    Ok((timed, parts))
}

/// Stage one on the first work unit of a new cache.
fn capture(arguments: &Arguments, units: usize) -> Result<Timed, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let pipeline = pipeline_of(arguments, &folder.path().join("cache"))?;
    let worker: Worker = format!("0/{units}").parse()?;
    let (mut timed, mut began) = (Timed::default(), None);
    let mut listen = |event| {
        if let Event::Batch { tokens, .. } = event {
            if began.is_some() {
                timed.tokens += tokens;
            } else {
                began = Some(Instant::now());
            }
        }
    };
    match run(&pipeline, worker, &AtomicBool::new(false), &mut listen)? {
        Outcome::Done(_) => {}
        Outcome::Stopped(_) => return Err("nobody stopped it".into()),
    }
    timed.seconds = began.ok_or("there was no batch")?.elapsed().as_secs_f64();
    Ok(timed)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    leadspan_memory::keep_freed_blocks();
    let arguments = arguments()?;
    let folder = tempfile::tempdir()?;
    let pipeline = pipeline_of(&arguments, &folder.path().join("cache"))?;
    prepare(&pipeline, &mut |_| {})?;
    let corpus = Cache::open(&pipeline.cache_dir())?.require_corpus()?;
    let unit = corpus.units()[0].clone();
    let samples: Vec<Sample> = unit
        .samples
        .map(|index| corpus.owned_sample(index))
        .collect::<Result<_, _>>()?;
    // This is the memory of the capture alone, because nothing else has run yet. Its time does not count: later runs reuse
    // memory of the process.
    let units = corpus.units().len();
    capture(&arguments, units)?;
    let peak = leadspan_memory::peak_memory_bytes();
    let source = pipeline.open_teacher()?;
    let device = open_device(&pipeline.teacher.device)?;
    let decoder = Decoder::load(&source, pipeline.teacher.dtype, &device)?;
    let chunk_rows =
        (pipeline.cache.head_chunk_mib_on(&device) << 20) / (decoder.config().vocab_size * size_of::<f32>());
    let batches = batches_of(&samples, pipeline.cache.batch_tokens_on(&device));
    let entries = EntrySettings::top_k(pipeline.cache.top_k);
    let (mut bares, mut captures) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        bares.push(bare(&decoder, &batches, chunk_rows.max(1), None)?.0);
        captures.push(capture(&arguments, units)?);
    }
    let (_, parts) = bare(&decoder, &batches, chunk_rows.max(1), Some(&entries))?;
    let rate = |timed: &Timed| timed.tokens as f64 / timed.seconds;
    let sum = parts.forward + parts.head + parts.selection;
    let share = |part: f64| (part / sum * 1000.0).round() / 1000.0;
    let result = json!({
        "samples": samples.len(),
        "tokens": bares[0].tokens,
        "rounds": arguments.rounds,
        "bare_tokens_per_second": median(bares.iter().map(rate)),
        "capture_tokens_per_second": median(captures.iter().map(rate)),
        "capture_over_bare": median(captures.iter().zip(&bares).map(|(capture, bare)| rate(bare) / rate(capture))),
        "capture_peak_memory_bytes": peak,
        "parts": {"forward": share(parts.forward), "head": share(parts.head), "selection": share(parts.selection)},
    });
    if arguments.json {
        println!("{result}");
    } else {
        println!("{result:#}");
    }
    Ok(())
}
