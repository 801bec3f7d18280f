//! Distributions that are captured on another device against those of the CPU.
//!
//! The device is the first GPU if the feature `cuda` is on (`tests/cuda.sh` runs it), with stock operations and with fused
//! ones, and otherwise the CPU with the stock operations that a GPU runs.

use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device};
use leadspan_cache::Layer;
use leadspan_distribution::{Distributions, EntrySettings};
use leadspan_model::{Decoder, DecoderConfig, Kernels, ModelSource, StoredDtype, StudentStart, open_device};

use super::*;
use crate::{
    batches::{CapturedSpan, spans_of},
    teacher::{Resident, Teacher as _},
};

/// The allowed errors of log-probabilities against single precision on the CPU, in nats: of every entry, and on average.
struct Tolerance {
    dtype: StoredDtype,
    each: f64,
    mean: f64,
}

/// Single precision rounds to 6e-8: stock operations on the CPU are off by up to 3e-5, and 2e-6 on average. `bf16` rounds
/// every activation to 2⁻⁹ of it, though not the logits: stock operations are off by up to 0.75 and 0.054 on average, and
/// PyTorch's `bf16` on the CPU, with the same weights and other tokens, by up to 0.79 and 0.042 on average.
const TOLERANCES: [Tolerance; 2] = [
    Tolerance {
        dtype: StoredDtype::F32,
        each: 1e-4,
        mean: 1e-5,
    },
    Tolerance {
        dtype: StoredDtype::Bf16,
        each: 1.5,
        mean: 0.08,
    },
];

const TOP_K: u32 = 16;

/// With a temperature, whole rows are copied to the host; without one, the device finds the largest logits.
fn entries(top_k: u32, temperatures: &[f32]) -> EntrySettings {
    EntrySettings {
        temperatures: temperatures.to_vec(),
        ..EntrySettings::top_k(top_k)
    }
}

/// The tiny teacher with weights rounded to `bf16`, so that they are the same in every dtype.
fn write_rounded_teacher(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::copy(fixture("tiny-teacher/config.json"), dir.join("config.json")).unwrap();
    let weights = candle_core::safetensors::load(fixture("tiny-teacher/model.safetensors"), &Device::Cpu).unwrap();
    let rounded = weights
        .into_iter()
        .map(|(name, weight)| (name, weight.to_dtype(DType::BF16).unwrap()));
    candle_core::safetensors::save(&rounded.collect(), dir.join("model.safetensors")).unwrap();
}

/// A teacher with heads for which a GPU has kernels, with random weights.
fn write_wide_teacher(dir: &Path) {
    fs::create_dir(dir).unwrap();
    let config = fs::read_to_string(fixture("tiny-teacher/config.json")).unwrap();
    let config = config.replace(r#""hidden_size": 32"#, r#""hidden_size": 256"#);
    let path = dir.join("config.json");
    fs::write(&path, config.replace(r#""head_dim": 8"#, r#""head_dim": 64"#)).unwrap();
    let config = DecoderConfig::from_json_file(&path).unwrap();
    let (_, parameters) = Decoder::trainable(&StudentStart::Config { config, seed: 3 }, &Device::Cpu).unwrap();
    let weights = parameters.iter().map(|(name, weight)| {
        // Initial weights are so small that every distribution is nearly uniform.
        let larger = if weight.rank() == 2 { 5.0 } else { 1.0 };
        let weight = (weight.as_detached_tensor() * larger).unwrap();
        (name.to_owned(), weight.to_dtype(DType::BF16).unwrap())
    });
    candle_core::safetensors::save(&weights.collect(), dir.join("model.safetensors")).unwrap();
}

#[test]
fn a_teacher_says_on_the_device_what_it_says_on_the_cpu() {
    let project = Project::new();
    run_to_end(&project.pipeline);
    let cache = Cache::open(&project.pipeline.cache_dir()).unwrap();
    let (corpus, layer) = (cache.require_corpus().unwrap(), cache.layers().unwrap().remove(0));
    let spans: Vec<_> = (corpus.units().iter())
        .flat_map(|unit| spans_of(layer.layer(), &corpus, unit))
        .collect();
    let teacher = |name: &str| project.folder.path().join(name);
    write_rounded_teacher(&teacher("tiny"));
    let mut cases = vec![(teacher("tiny"), Kernels::Stock)];
    if cfg!(feature = "cuda") {
        write_wide_teacher(&teacher("wide"));
        cases.extend([Kernels::Stock, Kernels::Fused].map(|kernels| (teacher("wide"), kernels)));
    }
    for (teacher, kernels) in cases {
        agrees_with_the_cpu(&teacher, kernels, (&spans, layer.layer(), &corpus));
    }
}

/// Asserts that the device's capture is that of the CPU, up to rounding.
fn agrees_with_the_cpu(
    teacher: &Path,
    kernels: Kernels,
    (spans, layer, corpus): (&[CapturedSpan], &Layer, &PreparedCorpus),
) {
    let capture = |dtype, device: &Device, kernels, entries| -> Distributions {
        let source = ModelSource::open(teacher).unwrap();
        let decoder = Decoder::load(&source, dtype, device).unwrap().with_kernels(kernels);
        let teacher = Resident::new(decoder, entries, 1);
        let captured = teacher.capture(spans, layer, corpus, &AtomicBool::new(false), &mut |_| Ok(()));
        teacher.finish(captured.unwrap()).unwrap()
    };
    // The whole vocabulary, most probable token first.
    let expected = capture(StoredDtype::F32, &Device::Cpu, Kernels::Fused, entries(320, &[]));
    let device = open_device(if cfg!(feature = "cuda") { "cuda:0" } else { "cpu" }).unwrap();
    for (tolerance, temperatures) in TOLERANCES
        .iter()
        .flat_map(|tolerance| [(tolerance, &[][..]), (tolerance, &[2.0])])
    {
        let found = capture(tolerance.dtype, &device, kernels, entries(TOP_K, temperatures));
        assert_eq!(found.len(), expected.len());
        let mut errors = Vec::new();
        for (found, expected) in found.iter().zip(expected.iter()) {
            let mut difference = |found: f32, expected: f64| errors.push((f64::from(found) - expected).abs());
            assert_eq!(found.token_ids.len(), TOP_K as usize);
            for (rank, (token, &logprob)) in found.token_ids.iter().zip(found.logprobs).enumerate() {
                let place = expected.token_ids.iter().position(|other| other == token).unwrap();
                difference(logprob, f64::from(expected.logprobs[place]));
                // Entries that are nearly equal may change places.
                difference(logprob, f64::from(expected.logprobs[rank]));
            }
            let rest = &expected.logprobs[TOP_K as usize..];
            let log_sum = |temperature: f64| -> f64 {
                let sum: f64 = rest
                    .iter()
                    .map(|&logprob| (f64::from(logprob) / temperature).exp())
                    .sum();
                sum.ln()
            };
            difference(found.tail_logprob, log_sum(1.0));
            assert_eq!(found.temperature_tails.len(), temperatures.len());
            for (&tail, &temperature) in found.temperature_tails.iter().zip(temperatures) {
                difference(tail, log_sum(f64::from(temperature)));
            }
            difference(found.target_logprob, f64::from(expected.target_logprob));
        }
        let largest = errors.iter().copied().fold(0.0, f64::max);
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!(
            largest < tolerance.each && mean < tolerance.mean,
            "{kernels:?} {:?}: off by {largest} at most, {mean} on average",
            tolerance.dtype
        );
    }
}
