//! The parts of a training step: the objective for every loss under every tail policy, the optimizer, and the whole of a step.
//!
//!     cargo bench -p leadspan-train [-- FILTER]
//!
//! `objective/LOSS-POLICY/FORM` is 256 rows of 49,152 logits with 64 entries, through a head so narrow that the loss and its
//! gradient are what takes the time; the tables have its bytes of logits a second. `adamw/DTYPE` updates SmolLM2-135M's
//! embedding, 28 million numbers. `step/f32` is forward, backward and update of six layers of SmolLM2-135M's shape on 1,600
//! packed tokens of eight samples.

#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first surprise")]

use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var};
use criterion::{Criterion, SamplingMode, Throughput};
use leadspan_cache::Span;
use leadspan_distribution::{EntrySettings, Row, reduce};
use leadspan_model::{Decoder, DecoderConfig, GradientSum, Stop, StudentStart};
use leadspan_train::{
    AdamW, AdamWSettings, Loss, MicroBatch, TailPolicy, TrainSettings, gradients,
    objective::{self, Distillation, HeadPass},
};

const VOCABULARY: usize = 49_152;
const HIDDEN: usize = 576;

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 6, "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0, "max_position_embeddings": 8192, "tie_word_embeddings": true, "hidden_act": "silu"}"#;

/// Tokens of the samples of a step.
const LENGTHS: [usize; 8] = [320, 280, 240, 220, 180, 150, 120, 90];

fn pass(fused: bool) -> HeadPass {
    HeadPass {
        distillation_weight: 0.5,
        chunk_bytes: 128 << 20,
        fused,
    }
}

fn entries() -> EntrySettings {
    EntrySettings {
        tail_samples: 12,
        ..EntrySettings::top_k(64)
    }
}

/// A sample whose every position has made-up entries.
fn span(length: usize) -> Span {
    let tokens: Vec<u32> = (0..length).map(|token| (token * 7919 % VOCABULARY) as u32).collect();
    let logits: Vec<f32> = (0..VOCABULARY)
        .map(|token| (token as f32 * 0.618).sin() * 8.0)
        .collect();
    let mut distributions = leadspan_distribution::Distributions::new();
    for (&target, seed) in tokens[1..].iter().zip(0..) {
        let one = reduce(&logits, VOCABULARY, &[Row { target, seed }], &entries()).unwrap();
        distributions.append(&one);
    }
    Span {
        positions: (0..length as u32 - 1).collect(),
        tokens,
        distributions,
    }
}

fn batch(spans: &[Span], distillation: Distillation) -> MicroBatch {
    let positions: usize = spans.iter().map(|span| span.positions.len()).sum();
    let spans: Vec<&Span> = spans.iter().collect();
    MicroBatch::new(&spans, &|_| 1.0 / positions as f64, distillation, VOCABULARY)
}

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

fn objectives(criterion: &mut Criterion) {
    const WIDTH: usize = 8;
    let spans = [span(257)];
    let (hidden, head) = (random(&[256, WIDTH]), random(&[VOCABULARY, WIDTH]));
    let sum = GradientSum::new(&head).unwrap();
    for tail_policy in TailPolicy::ALL {
        for loss in Loss::ALL {
            let settings = TrainSettings {
                loss,
                tail_policy,
                ..TrainSettings::default()
            };
            let Ok(distillation) = Distillation::new(&settings, &entries()) else {
                continue; // The loss has no meaning under this policy.
            };
            let batch = batch(&spans, distillation);
            let mut group = criterion.benchmark_group(format!("objective/{loss}-{tail_policy}"));
            group.throughput(Throughput::Bytes((256 * VOCABULARY * size_of::<f32>()) as u64));
            for (form, fused) in [("fused", true), ("composed", false)] {
                group.bench_function(form, |bencher| {
                    bencher.iter(|| {
                        objective::backward(pass(fused), (&hidden, &head), &batch.rows, &sum, Stop::NEVER).unwrap()
                    });
                });
            }
            group.finish();
        }
    }
}

fn optimizer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adamw");
    let count = VOCABULARY * HIDDEN;
    let (start, gradient) = (random(&[VOCABULARY, HIDDEN]), random(&[VOCABULARY, HIDDEN]));
    // Read: weight, gradient, both moments; written: weight, both moments; in bf16 the rounded weight as well.
    for (name, dtype, bytes) in [("f32", DType::F32, 28), ("bf16", DType::BF16, 30)] {
        let variable = Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap();
        let mut optimizer = AdamW::new([("w", &variable)].into_iter(), AdamWSettings::default()).unwrap();
        group.throughput(Throughput::Bytes((count * bytes) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| optimizer.update([("w", &gradient)].into_iter(), 0.5, 1e-4).unwrap());
        });
    }
    group.finish();
}

fn step(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, CONFIG).unwrap();
    let config = DecoderConfig::from_json_file(&path).unwrap();
    let (decoder, parameters) = Decoder::trainable(&StudentStart::Config { config, seed: 0 }, &Device::Cpu).unwrap();
    let mut optimizer = AdamW::new(parameters.iter(), AdamWSettings::default()).unwrap();
    let batch = batch(&LENGTHS.map(span), Distillation::default());
    let mut group = criterion.benchmark_group("step");
    // One step per sample of the benchmark, because a step takes seconds.
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(batch.token_count() as u64));
    group.bench_function("f32", |bencher| {
        bencher.iter(|| {
            gradients::clear(&parameters);
            gradients::accumulate(&decoder, &batch, pass(true), false, Stop::NEVER).unwrap();
            let gradients = gradients::all(&parameters).unwrap();
            let scale = (1.0 / gradients::norm(&gradients).unwrap()).min(1.0);
            optimizer.update(gradients.into_iter(), scale, 1e-4).unwrap();
        });
    });
    group.finish();
}

fn main() {
    leadspan_memory::keep_freed_blocks();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    objectives(&mut criterion);
    optimizer(&mut criterion);
    step(&mut criterion);
    criterion.final_summary();
}
