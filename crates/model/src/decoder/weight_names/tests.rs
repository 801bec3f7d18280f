//! A weight that the decoder does not read is refused; what changes nothing may be there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::Device;
use leadspan_diagnosis::Diagnosis as _;
use leadspan_kernels::Kernels;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use super::*;
use crate::{Decoder, ModelSource, StoredDtype, StreamedDecoder, StudentStart};

/// A layer of Llama or Qwen2 with biases.
const PARTS: [&str; 12] = [
    "input_layernorm.weight",
    "mlp.down_proj.weight",
    "mlp.gate_proj.weight",
    "mlp.up_proj.weight",
    "post_attention_layernorm.weight",
    "self_attn.k_proj.bias",
    "self_attn.k_proj.weight",
    "self_attn.o_proj.weight",
    "self_attn.q_proj.bias",
    "self_attn.q_proj.weight",
    "self_attn.v_proj.bias",
    "self_attn.v_proj.weight",
];

#[test]
fn the_names_are_those_of_the_layers_and_of_what_surrounds_them() {
    let mut config = DecoderConfig {
        qkv_bias: true,
        ..DecoderConfig::for_test(1 << 27)
    };
    let layer = PARTS.map(|part| format!("model.layers.0.{part}"));
    let ends = ["model.embed_tokens.weight", "model.norm.weight"].map(str::to_owned);
    let tied: BTreeSet<String> = ends.into_iter().chain(layer).collect();
    assert_eq!(weight_names(&config).unwrap(), tied);
    config.tie_word_embeddings = false;
    let added: Vec<String> = weight_names(&config).unwrap().difference(&tied).cloned().collect();
    assert_eq!(added, ["lm_head.weight"]);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/parity")
        .join(name)
}

/// A copy of a model in one file, with other tensors of one number beside its own, and other keys.
fn copy_with(name: &str, added: &[(&str, Dtype)], keys: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read(fixture(name).join("config.json")).unwrap();
    let mut config: serde_json::Map<String, Value> = serde_json::from_slice(&text).unwrap();
    config.extend(keys.as_object().unwrap().clone());
    fs::write(dir.path().join("config.json"), Value::from(config).to_string()).unwrap();
    let bytes = fs::read(fixture(name).join("model.safetensors")).unwrap();
    let mut tensors: BTreeMap<String, TensorView<'_>> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .collect();
    for &(name, dtype) in added {
        let number = TensorView::new(dtype, vec![1], &[0, 0, 0, 0][..dtype.bitsize() / 8]).unwrap();
        assert!(tensors.insert(name.to_owned(), number).is_none());
    }
    let whole = safetensors::serialize(tensors, None).unwrap();
    fs::write(dir.path().join("model.safetensors"), whole).unwrap();
    dir
}

/// What teacher, streamed teacher and student say about a model: all the same.
fn opened(dir: &Path) -> Result<(), ModelError> {
    let source = ModelSource::open(dir)?;
    let resident = Decoder::load(&source, StoredDtype::F32, &Device::Cpu).map(drop);
    let streamed = StreamedDecoder::open(&source, StoredDtype::F32, Kernels::Fused).map(drop);
    assert_eq!(resident.is_ok(), streamed.is_ok());
    let start = StudentStart::Model {
        source,
        layers: Some(vec![0]),
    };
    match Decoder::trainable(&start, &Device::Cpu) {
        Ok(_) => assert!(resident.is_ok()),
        Err(ModelError::CannotBeTrained { .. }) => {}
        Err(error) => assert_eq!(error.to_string(), resident.as_ref().unwrap_err().to_string()),
    }
    resident
}

#[test]
fn a_weight_that_the_architecture_does_not_have_is_refused_by_name_and_file() {
    let none = json!({});
    for (model, weight, keys) in [
        ("llama", "model.layers.0.self_attn.q_norm.weight", &none),
        ("llama", "model.layers.0.self_attn.o_proj.bias", &none),
        ("llama", "model.layers.1.mlp.up_proj.bias", &none),
        ("llama", "score.weight", &none),
        ("llama", "mtp.norm.weight", &none),
        ("llama", "vision_tower.patch_conv.weight", &none),
        ("llama", "model.layers.0.mlp.gate_proj.qzeros", &none),
        ("qwen2", "model.layers.0.self_attn.o_proj.bias", &none),
        ("qwen3", "model.layers.7.input_layernorm.weight", &none),
        ("qwen3", "model.layers.0.mlp.shared_expert.up_proj.weight", &none),
        ("qwen3", "model.layers.0.self_attn.sinks", &none),
        ("fp8_rows", "model.layers.0.self_attn.q_proj.bias", &none),
        ("fp8_rows", "model.layers.9.self_attn.k_scale", &none),
        ("olmo2", "model.layers.0.input_layernorm.weight", &none),
        (
            "gemma3_images",
            "language_model.model.layers.0.self_attn.q_proj.bias",
            &none,
        ),
        ("gemma3_images", "audio_tower.norm.weight", &none),
        // Rows of a weight that is stored as one.
        ("phi3", "model.layers.0.self_attn.q_proj.weight", &none),
        // A layer of linear attention has no queries.
        ("qwen3_5", "model.layers.0.self_attn.q_proj.weight", &none),
        (
            "qwen3_moe_unnormalized",
            "model.layers.0.mlp.experts.9.up_proj.weight",
            &none,
        ),
        // Biases that the file has and the configuration denies, and a layer too many.
        (
            "granite",
            "model.layers.0.self_attn.k_proj.bias",
            &json!({"attention_bias": false}),
        ),
        (
            "llama",
            "model.layers.1.input_layernorm.weight",
            &json!({"num_hidden_layers": 1}),
        ),
        // A layer too many in floats of eight bits.
        ("fp8_blocks", "model.layers.1.self_attn.q_proj.weight", &none),
    ] {
        let dtype = if model == "fp8_blocks" {
            Dtype::F8_E4M3
        } else {
            Dtype::F32
        };
        let added = [(weight, dtype)];
        let dir = copy_with(model, if *keys == none { &added } else { &[] }, keys);
        let error = opened(dir.path()).expect_err(&format!("{model}: {weight}"));
        let file = dir.path().join("model.safetensors");
        assert_eq!(
            error.to_string(),
            format!(
                "weight `{weight}` of `{}` cannot be read: a model of this architecture has no such weight",
                file.display()
            ),
            "{model}"
        );
        assert!(!error.is_unexpected() && error.hint().unwrap().contains("`student.layers`"));
    }
}

#[test]
fn a_file_of_several_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("llama_untied_sharded")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let index = dir.path().join("model.safetensors.index.json");
    let mut text: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    text["weight_map"]["other"] = json!("other.safetensors");
    fs::write(&index, text.to_string()).unwrap();
    let other = [(
        "model.layers.0.self_attn.q_norm.weight",
        TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap(),
    )];
    fs::write(
        dir.path().join("other.safetensors"),
        safetensors::serialize(other, None).unwrap(),
    )
    .unwrap();
    let error = opened(dir.path()).unwrap_err();
    assert!(
        matches!(&error, ModelError::UnknownWeight { path, name }
            if path.ends_with("other.safetensors") && name.ends_with("layers.0.self_attn.q_norm.weight")),
        "{error}"
    );
}

#[test]
fn what_changes_nothing_may_be_there() {
    for (model, weights) in [
        // Buffers of early versions of transformers.
        (
            "llama",
            &[
                "model.layers.0.self_attn.rotary_emb.inv_freq",
                "model.layers.1.self_attn.masked_bias",
                "model.rotary_emb.inv_freq",
            ][..],
        ),
        // Scales of activations and of the cache of keys and values.
        (
            "fp8_rows",
            &[
                "model.layers.0.self_attn.q_proj.input_scale",
                "model.layers.0.self_attn.k_proj.output_scale",
                "model.layers.0.self_attn.k_scale",
                "model.layers.0.self_attn.v_scale",
            ],
        ),
        // Heads for further tokens and what sees images.
        (
            "qwen3_5",
            &[
                "mtp.fc.weight",
                "mtp.layers.0.self_attn.q_proj.weight",
                "model.visual.patch_embed.proj.bias",
            ],
        ),
        (
            "gemma3",
            &[
                "vision_tower.vision_model.post_layernorm.bias",
                "multi_modal_projector.mm_soft_emb_norm.bias",
            ],
        ),
        (
            "mistral",
            &[
                "model.vision_tower.ln_pre.bias",
                "model.multi_modal_projector.norm.bias",
            ],
        ),
    ] {
        let added: Vec<(&str, Dtype)> = weights.iter().map(|&name| (name, Dtype::F32)).collect();
        opened(copy_with(model, &added, &json!({})).path()).unwrap();
    }
}
