//! Times the optimizer step on a cache's samples, for the figures in `docs/benchmarks.md`.
//!
//!     cargo run --release -p leadspan-train --example train_step -- CACHE
//!         [--shape smollm2-6 | smollm2-135m | qwen3-4] [--lora RANK] [--steps N] [--warmup N] [--batch-samples N]
//!         [--proportion P] [--sections SECTION,…] [--checkpointing] [--online] [--json]
//!
//! The student has random weights of the given shape, and training samples come in the order of the corpus. The example
//! prints tokens per second, the process's peak memory, the share of each part of the step, and the time that the matrix
//! products alone would take at the rate that this machine reaches on one of them. With `--lora` the student learns adapters of
//! that rank on all projections and nothing else. With `--online` a teacher of
//! SmolLM2-135M's shape (random weights) runs in every step, and its distributions replace the stored ones.
//! `tests/compare/train_step.py` is the same step in `PyTorch`.

#![expect(clippy::print_stdout, reason = "an example that prints is a program")]

use std::{alloc::System, error::Error, fs, path::Path, time::Instant};

use candle_core::{Device, Tensor};
use leadspan_cache::{Cache, Coverage, Missing, Reader, Span};
use leadspan_distribution::{EntrySettings, Row, reduce};
use leadspan_memory::{Counting, keep_freed_blocks, peak_memory_bytes};
use leadspan_model::{
    AllLinear, Decoder, DecoderConfig, LoraSettings, LoraTargets, Packed, Parameters, Stop, StudentDtype, StudentStart,
};
use leadspan_sequence::{SectionSet, Split, fed_tokens};
use leadspan_train::{
    AdamW, AdamWSettings, MicroBatch, gradients,
    objective::{self, Distillation, HeadPass},
};
use serde_json::json;

/// Counts how much memory is in use.
#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

const SMOLLM2_6: &str = r#"{"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 6, "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0, "max_position_embeddings": 8192, "tie_word_embeddings": true, "hidden_act": "silu"}"#;
const QWEN3_4: &str = r#"{"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0, "max_position_embeddings": 40960, "tie_word_embeddings": true, "hidden_act": "silu"}"#;

const PASS: HeadPass = HeadPass {
    distillation_weight: 0.5,
    chunk_bytes: 128 << 20,
    fused: true,
};

struct Arguments {
    cache: String,
    shape: String,
    lora: Option<usize>,
    steps: usize,
    warmup: usize,
    batch_samples: usize,
    proportion: String,
    sections: SectionSet,
    checkpointing: bool,
    online: bool,
    json: bool,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let mut arguments = Arguments {
        cache: given.next().ok_or("name a cache")?,
        shape: "smollm2-6".to_owned(),
        lora: None,
        steps: 8,
        warmup: 2,
        batch_samples: 8,
        proportion: "1.0".to_owned(),
        sections: SectionSet::ALL,
        checkpointing: false,
        online: false,
        json: false,
    };
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("`{name}` needs a value"));
        match name.as_str() {
            "--shape" => arguments.shape = value()?,
            "--lora" => arguments.lora = Some(value()?.parse()?),
            "--steps" => arguments.steps = value()?.parse()?,
            "--warmup" => arguments.warmup = value()?.parse()?,
            "--batch-samples" => arguments.batch_samples = value()?.parse()?,
            "--proportion" => arguments.proportion = value()?,
            "--sections" => {
                let value = value()?;
                if value != "all" {
                    let names: Vec<&str> = value.split(',').collect();
                    arguments.sections = serde_json::from_value(json!(names))?;
                }
            }
            "--checkpointing" => arguments.checkpointing = true,
            "--online" => arguments.online = true,
            "--json" => arguments.json = true,
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    Ok(arguments)
}

/// One step's input: all positions weigh the same.
fn batch(spans: &[Span], vocabulary: usize) -> MicroBatch {
    let positions: usize = spans.iter().map(|span| span.positions.len()).sum();
    let spans: Vec<&Span> = spans.iter().collect();
    MicroBatch::new(&spans, &|_| 1.0 / positions as f64, Distillation::default(), vocabulary)
}

/// The same, with the distributions of a teacher that runs now instead of the stored ones.
fn ask(teacher: &Decoder, spans: &[Span], vocabulary: usize) -> Result<MicroBatch, Box<dyn Error>> {
    let packed = Packed::new((spans.iter()).map(|span| &span.tokens[..fed_tokens(span.positions.last().copied())]));
    let hidden = teacher.hidden_states(&packed, Stop::NEVER)?;
    let mut answered = Vec::with_capacity(spans.len());
    for (span, &start) in spans.iter().zip(packed.edges()) {
        let places: Vec<u32> = span.positions.iter().map(|&position| start as u32 + position).collect();
        let wanted: Vec<Row> = (span.positions.iter())
            .map(|&position| Row {
                target: span.tokens[position as usize + 1],
                seed: 0,
            })
            .collect();
        let indices = Tensor::from_slice(&places, places.len(), &Device::Cpu)?;
        let logits: Vec<f32> = teacher
            .logits(&hidden.index_select(&indices, 0)?)?
            .flatten_all()?
            .to_vec1()?;
        let distributions = reduce(&logits, vocabulary, &wanted, &EntrySettings::top_k(64))
            .map_err(|bad| format!("a logit of row {} is not finite", bad.row))?;
        answered.push(Span {
            distributions,
            ..span.clone()
        });
    }
    Ok(batch(&answered, vocabulary))
}

/// Seconds of the parts of some steps, and the bytes that their forward passes keep for the backward passes.
#[derive(Default)]
struct Spent {
    activation_bytes: usize,
    teacher: f64,
    forward: f64,
    head_and_loss: f64,
    backward: f64,
    optimizer: f64,
}

fn step(
    student: (&Decoder, &Parameters),
    teacher: Option<&Decoder>,
    optimizer: &mut AdamW,
    (spans, stored): &Samples,
    checkpointing: bool,
    spent: &mut Spent,
) -> Result<f64, Box<dyn Error>> {
    let (decoder, parameters) = student;
    let mut began = Instant::now();
    let mut lap = |part: &mut f64| {
        *part += began.elapsed().as_secs_f64();
        began = Instant::now();
    };
    let asked = teacher
        .map(|teacher| ask(teacher, spans, decoder.config().vocab_size))
        .transpose()?;
    let batch = asked.as_ref().unwrap_or(stored);
    lap(&mut spent.teacher);
    gradients::clear(parameters);
    let before = ALLOCATOR.held();
    let trace = decoder.trace(&batch.packed, &batch.places, checkpointing, Stop::NEVER)?;
    spent.activation_bytes += ALLOCATOR.held().saturating_sub(before);
    lap(&mut spent.forward);
    let weight = decoder.head_weight().ok_or("the head is dense")?;
    let head = objective::backward(
        PASS,
        (&trace.rows(), &weight),
        &batch.rows,
        decoder.head_gradient(),
        Stop::NEVER,
    )?;
    lap(&mut spent.head_and_loss);
    trace.backward(&head.hidden)?;
    lap(&mut spent.backward);
    let gradients = gradients::all(parameters)?;
    let scale = (1.0 / gradients::norm(&gradients)?).min(1.0);
    optimizer.update(gradients.into_iter(), scale, 1e-4)?;
    lap(&mut spent.optimizer);
    let sums = head.sums.wait()?;
    Ok(0.5 * sums.cross_entropy + 0.5 * sums.forward_kl)
}

/// Floating-point operations of the products of one step: two per weight and row forward, and four backward, or two if only
/// `adapters` numbers are learnt. The scores and mixtures of attention count over the visible half of the square, with two products
/// forward and four backward.
fn product_operations(config: &DecoderConfig, adapters: Option<usize>, batch: &MicroBatch) -> f64 {
    let (queries, keys) = (
        config.num_attention_heads * config.head_dim,
        config.num_key_value_heads * config.head_dim,
    );
    let layer = config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size);
    let rows = batch.packed.tokens().len() as f64;
    let seen: f64 = batch
        .packed
        .edges()
        .windows(2)
        .map(|edges| ((edges[1] - edges[0]) as f64).powi(2) / 2.0)
        .sum();
    let attention = 2.0 * 2.0 * seen * queries as f64;
    let (weights, attention) = (
        config.num_hidden_layers as f64 * 2.0 * rows * layer as f64,
        config.num_hidden_layers as f64 * attention,
    );
    let head = 2.0 * batch.places.len() as f64 * (config.hidden_size * config.vocab_size) as f64;
    match adapters {
        None => 3.0 * (weights + attention + head),
        Some(numbers) => 2.0 * (weights + head) + 3.0 * (attention + 2.0 * rows * numbers as f64),
    }
}

/// The rate of one product of the feed-forward block in operations per second, the best of several.
fn product_rate(config: &DecoderConfig, rows: usize) -> Result<f64, Box<dyn Error>> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let x = Tensor::randn(0f32, 1.0, (rows, hidden), &Device::Cpu)?;
    let weight = Tensor::randn(0f32, 1.0, (inner, hidden), &Device::Cpu)?.t()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..20 {
        let began = Instant::now();
        x.matmul(&weight)?;
        fastest = fastest.min(began.elapsed().as_secs_f64());
    }
    Ok(2.0 * (rows * hidden * inner) as f64 / fastest)
}

fn config_of(text: &str) -> Result<DecoderConfig, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.json");
    fs::write(&path, text)?;
    Ok(DecoderConfig::from_json_file(&path)?)
}

/// The samples of a step, and how they are laid out.
type Samples = (Vec<Span>, MicroBatch);

/// What the steps learn from.
fn batches(arguments: &Arguments, vocabulary: usize) -> Result<Vec<Samples>, Box<dyn Error>> {
    let cache = Cache::open(Path::new(&arguments.cache))?;
    let asked = Coverage {
        proportion: arguments.proportion.parse()?,
        sections: arguments.sections,
    };
    let reader = Reader::open(&cache, asked, Missing::Allowed)?;
    let mut samples = Vec::new();
    for sample in reader.corpus().of_split(Split::Train) {
        if reader.position_count(sample)? > 0 {
            samples.push(sample);
        }
    }
    let wanted = samples
        .chunks_exact(arguments.batch_samples)
        .take(arguments.warmup + arguments.steps);
    let mut batches = Vec::new();
    for samples in wanted {
        let spans = samples
            .iter()
            .map(|&sample| reader.span(sample))
            .collect::<Result<Vec<_>, _>>()?;
        let batch = batch(&spans, vocabulary);
        batches.push((spans, batch));
    }
    Ok(batches)
}

/// A student with random weights, which learns them, or adapters of the given rank on all of its projections.
fn student(config: &DecoderConfig, lora: Option<usize>) -> Result<(Decoder, Parameters), Box<dyn Error>> {
    let start = StudentStart::Config {
        config: config.clone(),
        seed: 0,
    };
    let Some(rank) = lora else {
        return Ok(Decoder::trainable(&start, &Device::Cpu)?);
    };
    let settings = LoraSettings {
        rank,
        alpha: 2.0 * rank as f64,
        targets: LoraTargets::All(AllLinear::Every),
        use_rslora: false,
        merged: false,
    };
    Ok(Decoder::adapted(
        StudentDtype::F32,
        &start,
        (&settings, 0),
        &Device::Cpu,
    )?)
}

fn main() -> Result<(), Box<dyn Error>> {
    keep_freed_blocks();
    let arguments = arguments()?;
    let text = match arguments.shape.as_str() {
        "smollm2-6" | "smollm2-135m" => SMOLLM2_6,
        "qwen3-4" => QWEN3_4,
        other => return Err(format!("unknown shape `{other}`").into()),
    };
    let mut config = config_of(text)?;
    if arguments.shape == "smollm2-135m" {
        config.num_hidden_layers = 30;
    }
    let (decoder, parameters) = student(&config, arguments.lora)?;
    let adapters = arguments.lora.map(|_| parameters.count());
    let mut optimizer = AdamW::new(
        parameters.iter(),
        AdamWSettings {
            weight_decay: 0.05,
            ..AdamWSettings::default()
        },
    )?;

    let teacher = if arguments.online {
        let mut shape: DecoderConfig = config_of(SMOLLM2_6)?;
        shape.num_hidden_layers = 30;
        let start = StudentStart::Config { config: shape, seed: 1 };
        let (decoder, parameters) = Decoder::trainable(&start, &Device::Cpu)?;
        Some(Decoder::frozen(decoder.config(), &parameters, &Device::Cpu)?)
    } else {
        None
    };
    let batches = batches(&arguments, config.vocab_size)?;
    let (mut spent, mut losses) = (Spent::default(), Vec::new());
    let (mut tokens, mut positions, mut operations) = (0, 0, 0.0);
    let mut began = Instant::now();
    for (index, samples) in batches.iter().enumerate() {
        let (_, batch) = samples;
        if index == arguments.warmup {
            (spent, began) = (Spent::default(), Instant::now());
        }
        let student = (&decoder, &parameters);
        losses.push(step(
            student,
            teacher.as_ref(),
            &mut optimizer,
            samples,
            arguments.checkpointing,
            &mut spent,
        )?);
        if index >= arguments.warmup {
            tokens += batch.packed.tokens().len();
            positions += batch.places.len();
            operations += product_operations(&config, adapters, batch);
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    let peak = peak_memory_bytes();
    let rate = product_rate(&config, tokens / arguments.steps.max(1))?;
    let floor = operations / rate;
    let share = |part: f64| (part / elapsed * 1000.0).round() / 1000.0;
    let result = json!({
        "shape": arguments.shape,
        "parameters": parameters.count(),
        "steps": arguments.steps,
        "tokens": tokens,
        "positions": positions,
        "seconds": elapsed,
        "tokens_per_second": tokens as f64 / elapsed,
        "peak_memory_bytes": peak,
        "activation_bytes": spent.activation_bytes,
        "product_gflops_per_second": rate / 1e9,
        "operations": operations,
        "floor_seconds": floor,
        "share_of_floor": floor / elapsed,
        "shares": {
            "teacher": share(spent.teacher),
            "forward": share(spent.forward),
            "head_and_loss": share(spent.head_and_loss),
            "backward": share(spent.backward),
            "optimizer": share(spent.optimizer),
        },
        "losses": losses,
    });
    if arguments.json {
        println!("{result}");
    } else {
        println!("{result:#}");
    }
    Ok(())
}
