//! Students of the families whose models differ from a plain decoder: their export, chosen layers, initial weights.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use leadspan_kernels::Packed;

use crate::{
    Decoder, DecoderConfig, Generation, GenerationSettings, ModelSource, Sampling, Stop, StoredDtype, StudentStart,
    write_model_dir,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/parity")
        .join(name)
}

fn start(name: &str, layers: Option<Vec<usize>>) -> StudentStart {
    let source = ModelSource::open(&fixture(name)).unwrap();
    StudentStart::Model { source, layers }
}

/// The bits of the logits of a sequence that is longer than every window.
fn logits(path: &Path) -> Vec<Vec<u32>> {
    let source = ModelSource::open(path).unwrap();
    let decoder = Decoder::load(&source, StoredDtype::F32, &Device::Cpu).unwrap();
    let tokens: Vec<u32> = (0..40u32).map(|i| (i * 7919 + i * i % 31) % 64).collect();
    let hidden = decoder.hidden_states(&Packed::new([&tokens[..]]), Stop::NEVER).unwrap();
    let logits: Vec<Vec<f32>> = decoder.logits(&hidden).unwrap().to_vec2().unwrap();
    let bits = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
    logits.into_iter().map(bits).collect()
}

/// The names and shapes of the weights in a folder.
fn weights(path: &Path) -> Vec<(String, Vec<usize>)> {
    let file = candle_core::safetensors::load(path.join("model.safetensors"), &Device::Cpu).unwrap();
    let shape = |(name, tensor): (String, Tensor)| (name, tensor.dims().to_vec());
    let mut weights: Vec<_> = file.into_iter().map(shape).collect();
    weights.sort();
    weights
}

#[test]
fn an_exported_student_of_every_family_is_read_again_as_it_was() {
    for model in [
        "mistral",
        "olmo2",
        "smollm3",
        "gemma3",
        "granite",
        "phi3",
        "phi3_partial",
    ] {
        let (student, parameters) = Decoder::trainable(&start(model, None), &Device::Cpu).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let exported = dir.path().join("student");
        let values = parameters.iter().map(|(name, variable)| (name, variable.as_tensor()));
        write_model_dir(&exported, student.config(), values, &[]).unwrap();
        let source = ModelSource::open(&exported).unwrap();
        assert_eq!(source.config(), student.config(), "{model}");
        // The names are those of transformers, also where the student has parts of a weight.
        assert_eq!(weights(&exported), weights(&fixture(model)), "{model}");
        assert!(logits(&exported) == logits(&fixture(model)), "{model}");
    }
}

#[test]
fn a_student_of_some_layers_keeps_what_these_layers_are() {
    let (student, _) = Decoder::trainable(&start("gemma3", Some(vec![1, 2])), &Device::Cpu).unwrap();
    let layers = &student.config().parts.layers;
    let windows: Vec<Option<usize>> = layers.iter().map(|layer| layer.window).collect();
    assert_eq!(windows, [None, Some(5)]);
}

#[test]
fn norms_that_are_stored_around_one_start_at_zero() {
    let config = DecoderConfig::from_json_file(&fixture("gemma3").join("config.json")).unwrap();
    let (_, parameters) = Decoder::trainable(&StudentStart::Config { config, seed: 1 }, &Device::Cpu).unwrap();
    for name in ["model.norm.weight", "model.layers.0.self_attn.q_norm.weight"] {
        let values: Vec<f32> = parameters.get(name).unwrap().to_vec1().unwrap();
        assert!(values.iter().all(|value| *value == 0.0), "{name}");
    }
}

#[test]
fn linear_attention_is_refused_to_students_and_to_generation() {
    let error = Decoder::trainable(&start("qwen3_5", None), &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("linear attention"), "{error}");
    let source = ModelSource::open(&fixture("qwen3_5")).unwrap();
    let decoder = Decoder::load(&source, StoredDtype::F32, &Device::Cpu).unwrap();
    let settings = GenerationSettings {
        max_new_tokens: 1,
        batch_samples: 1,
        sampling: Sampling::Greedy,
    };
    let error = Generation::new(&decoder, settings, vec![2]).unwrap_err();
    assert!(error.to_string().contains("linear attention"), "{error}");
}
