//! Students with adapters against PEFT, and their exports.

use std::{collections::HashMap, fs, path::PathBuf};

use candle_core::{D, DType, Device, Tensor};
use leadspan_diagnosis::Diagnosis as _;
use serde_json::Value;

use crate::{
    AllLinear, Decoder, LoraSettings, LoraTargets, ModelSource, Packed, Parameters, Stop, StoredDtype, StudentDtype,
    StudentStart, merged_weights, write_adapter_dir, write_model_dir,
};

/// The bases of the adapters that PEFT made.
const MODELS: [&str; 5] = ["qwen3", "qwen2", "gemma3", "granite", "phi3"];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn tensors(path: PathBuf) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The settings with which PEFT made an adapter.
fn settings_of(model: &str) -> LoraSettings {
    let text = fs::read(fixture(&format!("lora/{model}/adapter_config.json"))).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    LoraSettings {
        rank: config["r"].as_u64().unwrap() as usize,
        alpha: config["lora_alpha"].as_f64().unwrap(),
        targets: serde_json::from_value(config["target_modules"].clone()).unwrap(),
        use_rslora: config["use_rslora"].as_bool().unwrap(),
        merged: false,
    }
}

fn source(model: &str) -> ModelSource {
    ModelSource::open(&fixture(&format!("parity/{model}"))).unwrap()
}

fn adapted(model: &str, dtype: StudentDtype, settings: &LoraSettings) -> (Decoder, Parameters) {
    let start = StudentStart::Model {
        source: source(model),
        layers: None,
    };
    Decoder::adapted(dtype, &start, (settings, 3), &Device::Cpu).unwrap()
}

/// A student with the adapter that PEFT made.
fn student(model: &str) -> (Decoder, Parameters) {
    let (decoder, parameters) = adapted(model, StudentDtype::F32, &settings_of(model));
    let adapter = tensors(fixture(&format!("lora/{model}/adapter_model.safetensors")));
    assert_eq!(parameters.iter().len(), adapter.len(), "{model}");
    for (name, variable) in parameters.iter() {
        variable.set(&adapter[name]).unwrap();
    }
    (decoder, parameters)
}

/// The log-probabilities `[T, V]` of the first sequence of a base.
fn logprobs(decoder: &Decoder, model: &str) -> Tensor {
    let tokens = tensors(fixture(&format!("parity/{model}/expected.safetensors")));
    let tokens = tokens["tokens"].to_vec2::<u32>().unwrap().remove(0);
    let hidden = decoder.hidden_states(&Packed::new([&tokens[..]]), Stop::NEVER).unwrap();
    candle_nn::ops::log_softmax(&decoder.logits(&hidden).unwrap(), D::Minus1).unwrap()
}

fn most(one: &Tensor, other: &Tensor) -> f32 {
    let difference = (one - other).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}

fn learnt(parameters: &Parameters) -> Vec<(&str, Tensor)> {
    let detached = parameters
        .iter()
        .map(|(name, variable)| (name, variable.as_detached_tensor()));
    detached.collect()
}

#[test]
fn a_student_computes_with_its_adapter_what_peft_does() {
    for model in MODELS {
        let (decoder, parameters) = student(model);
        let expected = tensors(fixture(&format!("lora/{model}/expected.safetensors")));
        let expected = expected["logprobs"].squeeze(0).unwrap();
        let frozen = Decoder::frozen(decoder.config(), &parameters, &Device::Cpu).unwrap();
        for decoder in [&decoder, &frozen] {
            // The tolerance of `tests/parity.rs`.
            let off = most(&logprobs(decoder, model), &expected);
            assert!(off < 1e-4, "{model}: {off}");
        }
    }
}

#[test]
fn a_student_starts_as_its_base_to_the_bit() {
    for model in MODELS {
        let (decoder, parameters) = adapted(model, StudentDtype::F32, &settings_of(model));
        let base = Decoder::load(&source(model), StoredDtype::F32, &Device::Cpu).unwrap();
        assert_eq!(
            most(&logprobs(&decoder, model), &logprobs(&base, model)),
            0.0,
            "{model}"
        );
        for (name, variable) in parameters.iter() {
            let largest = variable.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert_eq!(largest == 0.0, name.ends_with("lora_B.weight"), "{name}: {largest}");
        }
    }
}

#[test]
fn an_exported_adapter_and_a_merged_student_are_read_as_what_was_learnt() {
    for model in MODELS {
        let (decoder, parameters) = student(model);
        let (expected, learnt) = (logprobs(&decoder, model), learnt(&parameters));
        let folder = tempfile::tempdir().unwrap();
        let (dir, whole) = (folder.path().join("adapter"), folder.path().join("whole"));
        let files = [("tokenizer.json".to_owned(), b"{}".to_vec())];
        let base = source(model);
        let named = base.as_adapter_base(Some("main"), base.weights_fingerprint().unwrap());
        let tensors = || learnt.iter().map(|(name, tensor)| (*name, tensor));
        write_adapter_dir(&dir, parameters.lora().unwrap(), &named, tensors(), &files).unwrap();
        let adapter = base.with_adapter(&dir).unwrap();
        adapter.require_base_of_adapter().unwrap();
        let read = Decoder::load(&adapter, StoredDtype::F32, &Device::Cpu).unwrap();
        let off = most(&logprobs(&read, model), &expected);
        assert!(off < 2e-5, "{model}: {off}");
        assert!(dir.join("tokenizer.json").is_file() && !dir.join("config.json").exists());

        let merged = merged_weights(&parameters, &learnt).unwrap();
        let merged = merged.iter().map(|(name, tensor)| (name.as_str(), tensor));
        write_model_dir(&whole, decoder.config(), merged, &files).unwrap();
        let source = ModelSource::open(&whole).unwrap();
        let read = Decoder::load(&source, StoredDtype::F32, &Device::Cpu).unwrap();
        let off = most(&logprobs(&read, model), &expected);
        assert!(off < 2e-5, "{model}: {off}");
    }
}

#[test]
fn an_exported_configuration_has_what_peft_wrote() {
    for model in MODELS {
        let (_, parameters) = student(model);
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("adapter");
        let base = crate::AdapterBase {
            name: Some(format!("made-up/{model}")),
            ..crate::AdapterBase::default()
        };
        let learnt = learnt(&parameters);
        let tensors = learnt.iter().map(|(name, tensor)| (*name, tensor));
        write_adapter_dir(&dir, parameters.lora().unwrap(), &base, tensors, &[]).unwrap();
        let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let peft = read(fixture(&format!("lora/{model}/adapter_config.json")));
        for (key, value) in read(dir.join("adapter_config.json")).as_object().unwrap() {
            assert_eq!(value, &peft[key], "{model}: {key}");
        }
    }
}

#[test]
fn an_adapter_is_refused_on_other_weights_than_those_it_was_learnt_on() {
    let (_, parameters) = student("qwen3");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("adapter");
    let base = source("qwen3").as_adapter_base(None, "another".to_owned());
    let learnt = learnt(&parameters);
    let tensors = learnt.iter().map(|(name, tensor)| (*name, tensor));
    write_adapter_dir(&dir, parameters.lora().unwrap(), &base, tensors, &[]).unwrap();
    let source = source("qwen3").with_adapter(&dir).unwrap();
    let message = source.require_base_of_adapter().unwrap_err().to_string();
    assert!(message.contains("learnt on other weights"), "{message}");
    // An adapter of PEFT does not say what it was learnt on.
    let source = self::source("qwen3").with_adapter(&fixture("lora/qwen3")).unwrap();
    source.require_base_of_adapter().unwrap();
}

#[test]
fn what_is_no_base_and_no_model_is_known_as_such() {
    let error = ModelSource::open(&fixture("lora/qwen3")).map(drop).unwrap_err();
    assert!(error.hint().unwrap().contains("`evaluate.adapter`"), "{error}");
    assert!(source("gemma3_images").is_part_of_another() && !source("gemma3").is_part_of_another());
    let base = source("qwen3").as_adapter_base(None, String::new());
    assert!(base.name.unwrap().ends_with("fixtures/parity/qwen3"));
}

#[test]
fn in_bf16_the_weights_stay_in_bf16_and_only_the_adapters_are_learnt() {
    let settings = LoraSettings {
        rank: 2,
        alpha: 4.0,
        targets: LoraTargets::All(AllLinear::Every),
        use_rslora: false,
        merged: false,
    };
    let (decoder, parameters) = adapted("qwen2", StudentDtype::Bf16, &settings);
    assert!(parameters.constants().all(|(_, weight)| weight.dtype() == DType::BF16));
    assert!(parameters.iter().all(|(_, variable)| variable.dtype() == DType::BF16));
    // Queries and output 24 to 24, keys and values 24 to 12, gate, up and down between 24 and 40, two layers.
    assert_eq!(parameters.count(), 2 * 2 * (2 * 48 + 2 * 36 + 3 * 64));
    assert!(decoder.head_gradient().is_none());
    let base = Decoder::load(&source("qwen2"), StoredDtype::Bf16, &Device::Cpu).unwrap();
    // Where variables are tracked, normalisations round otherwise.
    let frozen = Decoder::frozen(decoder.config(), &parameters, &Device::Cpu).unwrap();
    assert_eq!(most(&logprobs(&frozen, "qwen2"), &logprobs(&base, "qwen2")), 0.0);
}
