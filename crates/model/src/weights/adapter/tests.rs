//! Adapters against PEFT, and those that are refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::{D, Device, Tensor};
use leadspan_diagnosis::Diagnosis as _;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::{Decoder, ModelError, ModelSource, Packed, Stop, StoredDtype};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn tensors(path: &Path) -> std::collections::HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The log-probabilities `[T, V]` of the first sequence of a fixture.
fn logprobs(source: &ModelSource, tokens: &Path) -> Tensor {
    let tokens = tensors(tokens)["tokens"].to_vec2::<u32>().unwrap().remove(0);
    let decoder = Decoder::load(source, StoredDtype::F32, &Device::Cpu).unwrap();
    let hidden = decoder.hidden_states(&Packed::new([&tokens[..]]), Stop::NEVER).unwrap();
    candle_nn::ops::log_softmax(&decoder.logits(&hidden).unwrap(), D::Minus1).unwrap()
}

fn mean_and_most(one: &Tensor, other: &Tensor) -> (f32, f32) {
    let difference = (one - other).unwrap().abs().unwrap();
    let of = |tensor: Tensor| tensor.to_scalar::<f32>().unwrap();
    (of(difference.mean_all().unwrap()), of(difference.max_all().unwrap()))
}

#[test]
fn a_merged_adapter_computes_what_peft_does() {
    for (name, base, tokens) in [
        ("tiny", "tiny-teacher", "tiny-teacher.expected.safetensors"),
        ("plain", "parity/qwen3", "parity/qwen3/expected.safetensors"),
        ("patterns", "parity/qwen3", "parity/qwen3/expected.safetensors"),
        ("biases", "parity/qwen2", "parity/qwen2/expected.safetensors"),
        ("joined", "parity/phi3", "parity/phi3/expected.safetensors"),
    ] {
        let (dir, tokens) = (fixture(&format!("adapters/{name}")), fixture(tokens));
        let expected = expected(&dir, "logprobs");
        let source = ModelSource::open(&fixture(base)).unwrap();
        let without = logprobs(&source, &tokens);
        let merged = logprobs(&source.with_adapter(&dir).unwrap(), &tokens);
        // The tolerance of `tests/parity.rs`.
        let (_, most) = mean_and_most(&merged, &expected);
        assert!(most < 1e-4, "{name}: {most}");
        let (mean, _) = mean_and_most(&without, &expected);
        assert!(mean > 0.05, "{name}: the adapter changes only {mean}");
    }
}

/// What PEFT computes with an adapter.
fn expected(dir: &Path, name: &str) -> Tensor {
    let expected = tensors(&dir.join("expected.safetensors"));
    expected[name].squeeze(0).unwrap()
}

#[test]
fn an_adapter_fits_the_rows_of_a_gguf_file() {
    let dir = fixture("adapters/tiny");
    let source = ModelSource::open(&fixture("tiny-teacher.gguf")).unwrap();
    let tokens = fixture("tiny-teacher.expected.safetensors");
    let merged = logprobs(&source.with_adapter(&dir).unwrap(), &tokens);
    let (_, most) = mean_and_most(&merged, &expected(&dir, "gguf_logprobs"));
    assert!(most < 1e-4, "{most}");
}

#[test]
fn quantised_weights_that_stay_as_stored_take_no_adapter() {
    let source = ModelSource::open(&fixture("tiny-teacher.gguf")).unwrap();
    let source = source.with_adapter(&fixture("adapters/tiny")).unwrap();
    let error = Decoder::load(&source, StoredDtype::Native, &Device::Cpu).unwrap_err();
    assert!(
        error.to_string().contains("`native`") && error.hint().unwrap().contains("`f32`"),
        "{error}"
    );
}

#[test]
fn an_adapter_beside_the_weights_is_used_only_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for (from, name) in [
        ("tiny-teacher", "config.json"),
        ("tiny-teacher", "model.safetensors"),
        ("adapters/tiny", "adapter_config.json"),
        ("adapters/tiny", "adapter_model.safetensors"),
    ] {
        fs::copy(fixture(from).join(name), dir.path().join(name)).unwrap();
    }
    let source = ModelSource::open(dir.path()).unwrap();
    let error = Decoder::load(&source, StoredDtype::F32, &Device::Cpu).unwrap_err();
    assert!(error.hint().unwrap().contains("teacher.adapter"), "{error}");
    let tokens = fixture("tiny-teacher.expected.safetensors");
    let merged = logprobs(&source.with_adapter(dir.path()).unwrap(), &tokens);
    let (_, most) = mean_and_most(&merged, &expected(&fixture("adapters/tiny"), "logprobs"));
    assert!(most < 1e-4, "{most}");
}

type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// A copy of the adapter `plain` whose settings and tensors are changed.
fn changed(settings: impl Fn(&mut Value), weights: impl Fn(&mut Tensors)) -> tempfile::TempDir {
    let (from, dir) = (fixture("adapters/plain"), tempfile::tempdir().unwrap());
    let mut value: Value = serde_json::from_slice(&fs::read(from.join("adapter_config.json")).unwrap()).unwrap();
    settings(&mut value);
    fs::write(dir.path().join("adapter_config.json"), value.to_string()).unwrap();
    let bytes = fs::read(from.join("adapter_model.safetensors")).unwrap();
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                view.dtype(),
                view.shape().to_vec(),
                view.data().to_vec(),
            )
        })
        .collect();
    weights(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(dir.path().join("adapter_model.safetensors"), bytes).unwrap();
    dir
}

/// An adapter of rank 4 for modules: what PEFT calls each, and the rows and columns of its weight.
fn made(modules: &[(String, [usize; 2])], settings: impl Fn(&mut Value)) -> tempfile::TempDir {
    let settings = |value: &mut Value| {
        value["target_modules"] = json!(".*");
        settings(value);
    };
    changed(settings, |tensors| {
        tensors.clear();
        for (place, (module, [rows, columns])) in modules.iter().enumerate() {
            for (part, shape) in [("lora_A", vec![4, *columns]), ("lora_B", vec![*rows, 4])] {
                let number = |i: usize| 0.3 * ((7 * i + 3 * place + 1) as f32).sin();
                let numbers = (0..shape.iter().product()).flat_map(|i| number(i).to_le_bytes());
                let name = format!("base_model.model.{module}.{part}.weight");
                tensors.push((name, Dtype::F32, shape.clone(), numbers.collect()));
            }
        }
    })
}

#[test]
fn an_adapter_of_a_model_with_images_changes_its_text_model() {
    for base in ["gemma3_images", "mistral3"] {
        let source = || ModelSource::open(&fixture("parity").join(base)).unwrap();
        let tokens = fixture("parity").join(base).join("expected.safetensors");
        let config = source().config().clone();
        let shape = [config.num_attention_heads * config.head_dim, config.hidden_size];
        let queries = |decoder: &str| -> Vec<(String, [usize; 2])> {
            let layers = 0..config.num_hidden_layers;
            layers
                .map(|layer| (format!("{decoder}layers.{layer}.self_attn.q_proj"), shape))
                .collect()
        };
        let with = |modules: &[(String, [usize; 2])], alpha_of: &str| {
            let dir = made(modules, |settings| {
                settings["alpha_pattern"] = json!({format!("{alpha_of}layers.0.self_attn.q_proj"): 2});
            });
            logprobs(&source().with_adapter(dir.path()).unwrap(), &tokens)
        };
        let expected = with(&queries("model."), "model.");
        let (mean, _) = mean_and_most(&logprobs(&source(), &tokens), &expected);
        assert!(mean > 0.01, "{base}: the adapter changes only {mean}");
        // The names of transformers since 4.52, and of those before it. Expressions of the settings are for these names.
        for decoder in ["model.language_model.", "language_model.model."] {
            let (_, most) = mean_and_most(&with(&queries(decoder), decoder), &expected);
            assert_eq!(most, 0.0, "{base}: {decoder}");
            let (_, most) = mean_and_most(&with(&queries(decoder), "vision."), &expected);
            assert!(most > 0.0, "{base}: {decoder}");
        }
        // What it changes of the tower for images is left out, as the tower is.
        let tower = (
            "model.vision_tower.encoder.layers.0.self_attn.q_proj".to_owned(),
            [4, 4],
        );
        let all = [queries("model.language_model."), vec![tower]].concat();
        let (_, most) = mean_and_most(&with(&all, "model.language_model."), &expected);
        assert_eq!(most, 0.0, "{base}");
        let other = made(&[("model.speech.layers.0.q_proj".to_owned(), shape)], |_| ());
        let message = refusal(&format!("parity/{base}"), other.path());
        assert!(message.contains("belongs to no weight of the model"), "{message}");
    }
}

#[test]
fn layers_of_linear_attention_take_an_adapter_in_their_projections_alone() {
    let source = || ModelSource::open(&fixture("parity/qwen3_5")).unwrap();
    let tokens = fixture("parity/qwen3_5/expected.safetensors");
    let config = source().config().clone();
    let linear = config.parts.linear.unwrap();
    let of = |layer: usize, part: &str| format!("model.language_model.layers.{layer}.{part}");
    assert!(config.parts.layer(0).is_linear);
    let shape = [linear.value_heads * linear.value_dim, config.hidden_size];
    let dir = made(&[(of(0, "linear_attn.in_proj_z"), shape)], |_| ());
    let changed = logprobs(&source().with_adapter(dir.path()).unwrap(), &tokens);
    let (mean, _) = mean_and_most(&logprobs(&source(), &tokens), &changed);
    assert!(mean > 1e-3, "the adapter changes only {mean}");
    for module in [
        of(0, "self_attn.q_proj"),
        of(0, "linear_attn.in_proj"),
        of(1, "linear_attn.in_proj_z"),
        of(9, "linear_attn.out_proj"),
    ] {
        let message = refusal("parity/qwen3_5", made(&[(module, shape)], |_| ()).path());
        assert!(message.contains("belongs to no weight of the model"), "{message}");
    }
}

/// The message and the hint with which a model with an adapter is refused.
fn refusal(base: &str, adapter: &Path) -> String {
    let source = ModelSource::open(&fixture(base)).unwrap();
    let opened = source.with_adapter(adapter);
    let loaded = opened.and_then(|source| Decoder::load(&source, StoredDtype::F32, &Device::Cpu));
    let error = loaded.map(drop).unwrap_err();
    assert!(
        matches!(error, ModelError::Adapter { .. } | ModelError::Config { .. }) && !error.is_unexpected(),
        "{error}"
    );
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[test]
fn settings_that_are_not_applied_are_refused_by_key() {
    for (key, value, expected) in [
        ("peft_type", json!("IA3"), "only `LORA`"),
        ("use_dora", json!(true), "merge_and_unload"),
        ("fan_in_fan_out", json!(true), "stores its weights"),
        (
            "init_lora_weights",
            json!("pissa_niter_4"),
            "changes the weights of the base",
        ),
        ("init_lora_weights", json!("loftq"), "changes the weights of the base"),
        ("lora_bias", json!(true), "merge_and_unload"),
        ("use_qalora", json!(true), "merge_and_unload"),
        ("layer_replication", json!([[0, 2], [1, 2]]), "merge_and_unload"),
        ("trainable_token_indices", json!([3]), "merge_and_unload"),
        (
            "target_parameters",
            json!(["mlp.experts.gate_up_proj"]),
            "merge_and_unload",
        ),
        ("a_later_feature", json!({"strength": 1}), "merge_and_unload"),
        ("r", Value::Null, "it must be given"),
        ("lora_alpha", json!("8"), "it must be a number"),
        ("rank_pattern", json!({"q_proj": "4"}), "its values must be numbers"),
        ("alpha_pattern", json!({"(": 4}), "names or regular expressions"),
    ] {
        let dir = changed(|settings| settings[key] = value.clone(), |_| ());
        let message = refusal("parity/qwen3", dir.path());
        assert!(
            message.contains(&format!("`{key}` is `")) && message.contains(expected),
            "{key}: {message}"
        );
    }
}

#[test]
fn tensors_that_do_not_fit_the_model_are_refused_by_name() {
    const QUERIES: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
    let with = |weights: &dyn Fn(&mut Tensors)| refusal("parity/qwen3", changed(|_| (), weights).path());
    let settings = |change: &dyn Fn(&mut Value)| refusal("parity/qwen3", changed(change, |_| ()).path());
    let renamed = |to: &str| {
        with(&|tensors: &mut Tensors| {
            let found = tensors.iter_mut().find(|(name, ..)| name == QUERIES).unwrap();
            found.0 = to.to_owned();
        })
    };
    for (message, expected) in [
        (
            renamed("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"),
            "no weight of the model",
        ),
        (
            renamed("base_model.model.model.layers.1.attn_q.lora_A.weight"),
            "no weight of the model",
        ),
        (
            renamed("base_model.model.model.layers.1.self_attn.c_attn.lora_A.weight"),
            "no weight of the model",
        ),
        (renamed("base_model.model.rope_freqs.weight"), "no weight of the model"),
        (
            renamed("model.layers.1.self_attn.q_proj.lora_A.weight"),
            "no weight of the model",
        ),
        (
            renamed("base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector"),
            "lora_magnitude_vector` belongs to no weight",
        ),
        (
            with(&|tensors| tensors.retain(|(name, ..)| name != QUERIES)),
            "it has one of the two matrices for `model.layers.1.self_attn.q_proj`",
        ),
        (
            with(&|tensors| tensors.retain(|(name, ..)| !name.contains("v_proj"))),
            "it lists `v_proj` in `target_modules`",
        ),
        (
            with(&|tensors| {
                for (_, dtype, _, data) in tensors {
                    *dtype = Dtype::I8;
                    data.truncate(data.len() / 4);
                }
            }),
            "is stored as I8",
        ),
        (
            settings(&|settings| settings["modules_to_save"] = json!(["lm_head"])),
            "it lists `lm_head` in `modules_to_save`",
        ),
        (
            settings(&|settings| settings["r"] = json!(8)),
            "has rank 4, but its configuration says 8",
        ),
        (
            settings(&|settings| settings["alpha_pattern"] = json!({"q_proj": 2, "self_attn.*": 3})),
            "two expressions of `alpha_pattern` match `model.layers.0.self_attn.q_proj`\nmerge the adapter with PEFT",
        ),
        (
            settings(&|settings| settings["alpha_pattern"] = json!({"(.+.+)+\\d": 2})),
            "takes too long",
        ),
        (
            with(&|tensors| {
                for name in ["model.norm.weight", "model.norm.base_layer.weight"] {
                    let name = format!("base_model.model.{name}");
                    tensors.push((name, Dtype::F32, vec![24], vec![0; 96]));
                }
            }),
            "are for one place",
        ),
        // Parts of a weight that the model stores as one.
        (
            refusal("parity/phi3", &fixture("adapters/plain")),
            "belongs to no weight of the model (the adapter is one of `made-up/qwen3`)",
        ),
        // Another base.
        (
            refusal("parity/llama", &fixture("adapters/plain")),
            "[32, 32] (the adapter is one of `made-up/qwen3`)",
        ),
        // The embedding of a tied model is its head.
        (
            refusal("tiny-teacher", &fixture("adapters/patterns")),
            "which are one weight in this model",
        ),
        (refusal("parity/qwen3", &fixture("adapters/nothing")), "it is no folder"),
        (
            refusal("parity/qwen3", &fixture("parity")),
            "it has no `adapter_config.json`",
        ),
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn what_an_adapter_does_is_its_identity() {
    let of = |dir: &Path| {
        let source = ModelSource::open(&fixture("parity/qwen3")).unwrap();
        source
            .with_adapter(dir)
            .unwrap()
            .adapter_fingerprint()
            .unwrap()
            .unwrap()
    };
    let plain = of(&fixture("adapters/plain"));
    let with = |settings: &dyn Fn(&mut Value)| of(changed(settings, |_| ()).path());
    assert_ne!(with(&|settings| settings["lora_alpha"] = json!(9)), plain);
    assert_ne!(with(&|settings| settings["use_rslora"] = json!(true)), plain);
    let renamed = |settings: &mut Value| settings["base_model_name_or_path"] = json!("elsewhere/base");
    assert_eq!(with(&renamed), with(&|_| ()));
    let source = ModelSource::open(&fixture("parity/qwen3")).unwrap();
    assert_eq!(source.adapter_fingerprint().unwrap(), None);
    assert!(source.adapter_files().is_empty());
}
