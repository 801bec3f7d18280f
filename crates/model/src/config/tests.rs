//! Configurations read from JSON and written again.

use std::path::Path;

use serde_json::{Value, json};

use super::{DecoderConfig, RotaryScaling, keys::Keys};
use crate::{error::ModelError, families::Family};

pub(super) fn read(value: &Value) -> Result<DecoderConfig, ModelError> {
    DecoderConfig::from_keys(Keys::new(Path::new("config.json"), value.as_object().unwrap()))
}

fn smollm() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
        "rope_theta": 100_000, "max_position_embeddings": 8192, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "rope_scaling": null
    })
}

#[test]
fn both_generations_of_rotary_keys_are_read() {
    let old = read(&smollm()).unwrap();
    assert_eq!((old.head_dim, old.rope_theta), (64, 100_000.0));
    let mut new = smollm();
    new.as_object_mut().unwrap().remove("rope_theta");
    new["rope_parameters"] = json!({"rope_theta": 100_000.0, "rope_type": "default"});
    assert_eq!(read(&new).unwrap(), old);
    new["rope_parameters"] = json!({
        "rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let scaled = read(&new).unwrap();
    assert!(matches!(
        scaled.rope_scaling,
        RotaryScaling::Llama3 {
            original_max_position_embeddings: 8192,
            ..
        }
    ));
    new["rope_parameters"]["rope_type"] = json!("dynamic");
    assert!(read(&new).unwrap_err().to_string().contains("`rope_type` is `dynamic`"));
}

/// `head_dim` 64, so frequencies have another base if another table is read.
#[test]
fn a_rope_scaling_takes_the_place_of_rope_parameters_as_in_transformers() {
    let mut value = smollm();
    value["rope_parameters"] = json!({"rope_theta": 5e5, "rope_type": "default"});
    // transformers 5 reads the scaling, and takes the base from beside it.
    value["rope_scaling"] = json!({"rope_type": "linear", "factor": 4.0});
    let config = read(&value).unwrap();
    assert_eq!(
        (config.rope_theta, config.rope_scaling),
        (100_000.0, RotaryScaling::Linear { factor: 4.0 })
    );
    value["rope_scaling"]["rope_theta"] = json!(2e5);
    assert_eq!(read(&value).unwrap().rope_theta, 2e5);
    // Without any base it would silently be 10,000.
    value.as_object_mut().unwrap().remove("rope_theta");
    value["rope_scaling"] = json!({"rope_type": "linear", "factor": 4.0});
    let error = read(&value).unwrap_err().to_string();
    assert!(
        error.contains("`rope_scaling`") && error.contains("copy `rope_theta` into it"),
        "{error}"
    );
    value["rope_parameters"]["rope_theta"] = json!(1e4);
    assert_eq!(read(&value).unwrap().rope_theta, 1e4);
    // An empty table counts as none.
    for empty in [json!(null), json!({})] {
        value["rope_scaling"] = empty;
        assert_eq!(read(&value).unwrap().rope_scaling, RotaryScaling::Default);
    }
}

#[test]
fn yarn_is_read_with_its_defaults_and_reaches_as_far_as_it_stretches() {
    let mut value = smollm();
    value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192});
    let config = read(&value).unwrap();
    let RotaryScaling::Yarn {
        attention_factor,
        beta_fast,
        beta_slow,
        truncate,
        ..
    } = config.rope_scaling
    else {
        panic!("{config:?}")
    };
    // 0.1 · ln 4 + 1.
    assert!((attention_factor - 1.138_629_436).abs() < 1e-9);
    assert_eq!((beta_fast, beta_slow, truncate), (32.0, 1.0, true));
    assert_eq!((config.max_position_embeddings, config.context()), (8192, 32768));
    // Without a context of pre-training it is the written one, and without a factor their ratio.
    value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0});
    assert_eq!(read(&value).unwrap().context(), 32768);
    value["rope_scaling"] = json!({"type": "yarn", "factor": null, "original_max_position_embeddings": 4096});
    let config = read(&value).unwrap();
    assert!(matches!(config.rope_scaling, RotaryScaling::Yarn { factor: 2.0, .. }));
    assert_eq!(config.context(), 8192);
    // (0.1 · ln 4 + 1) / (0.05 · ln 4 + 1).
    value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.5});
    let RotaryScaling::Yarn { attention_factor, .. } = read(&value).unwrap().rope_scaling else {
        panic!("yarn was asked for")
    };
    assert!((attention_factor - 1.138_629_436 / 1.069_314_718).abs() < 1e-9);
}

fn mixture() -> Value {
    let mut value = smollm();
    value["model_type"] = json!("qwen3_moe");
    for (key, number) in [
        ("num_hidden_layers", 6),
        ("num_experts", 8),
        ("num_experts_per_tok", 2),
        ("moe_intermediate_size", 32),
    ] {
        value[key] = json!(number);
    }
    value
}

#[test]
fn layers_have_experts_at_every_step_but_where_they_are_said_to_be_dense() {
    let layers = |step: u64, dense: Value| {
        let mut value = mixture();
        value["decoder_sparse_step"] = json!(step);
        value["mlp_only_layers"] = dense;
        read(&value).unwrap().experts.map(|experts| experts.layers)
    };
    assert_eq!(layers(1, Value::Null), Some(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(layers(2, json!([])), Some(vec![1, 3, 5]));
    assert_eq!(layers(2, json!([3, 4])), Some(vec![1, 5]));
    assert_eq!(layers(7, json!([])), None);
}

#[test]
fn a_written_config_reads_back_the_same() {
    let mut value = smollm();
    value["eos_token_id"] = json!([2, 7]);
    value["rope_scaling"] = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let llama3 = value["rope_scaling"].clone();
    for (family, scaling) in [
        (Family::Llama, llama3.clone()),
        (Family::Qwen2, llama3),
        (Family::Qwen3, json!({"rope_type": "linear", "factor": 2.5})),
    ] {
        value["rope_scaling"] = scaling;
        value["model_type"] = json!(family.as_str());
        let config = read(&value).unwrap();
        assert_eq!(read(&config.to_json()).unwrap(), config);
    }
    let mut value = mixture();
    value["rope_scaling"] = json!({"rope_type": "yarn", "factor": 3.0, "beta_fast": 20, "truncate": false});
    value["mlp_only_layers"] = json!([2]);
    let config = read(&value).unwrap();
    assert_eq!(read(&config.to_json()).unwrap(), config);
}

#[test]
fn what_the_forward_cannot_compute_is_refused_by_name() {
    for (key, bad) in [
        ("model_type", json!("mamba")),
        ("hidden_act", json!("gelu")),
        ("mlp_bias", json!(true)),
        ("use_sliding_window", json!(true)),
        ("num_key_value_heads", json!(4)),
        ("num_hidden_layers", json!(0)),
        ("hidden_size", json!("wide")),
        ("head_dim", json!(3)),
        ("rope_theta", json!(-1)),
        ("rope_scaling", json!("linear")),
        ("rope_scaling", json!([4])),
        ("partial_rotary_factor", json!(0.5)),
        ("layer_types", json!(["full_attention", "sliding_attention"])),
        ("is_causal", json!(false)),
        ("text_config", json!({"tie_word_embeddings": false})),
        ("logit_scale", json!(0.25)),
        ("final_logit_softcapping", json!(30.0)),
        ("attn_logit_softcapping", json!(1)),
        ("tie_word_embeddings", json!("true")),
        ("attention_bias", json!(1)),
        ("hidden_act", json!(7)),
        ("eos_token_id", json!("2")),
        ("eos_token_id", json!([2, null])),
        ("bos_token_id", json!(1.5)),
    ] {
        let mut value = smollm();
        value[key] = bad;
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
    let mut other = smollm();
    other["model_type"] = json!("gpt_oss");
    let error = read(&other).unwrap_err().to_string();
    assert!(
        error.contains("`model_type` is `gpt_oss`") && error.contains("`qwen3`") && error.contains("`teacher.server`"),
        "{error}"
    );
    for (key, bad) in [
        ("num_experts_per_tok", json!(9)),
        ("num_experts_per_tok", json!(0)),
        ("moe_intermediate_size", json!(0)),
        ("decoder_sparse_step", json!(0)),
        ("mlp_only_layers", json!("all")),
        ("mlp_only_layers", json!([1, "all"])),
        ("norm_topk_prob", json!("yes")),
    ] {
        let mut value = mixture();
        value[key] = bad;
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
    for (key, bad) in [
        ("factor", json!(0)),
        ("type", json!(3)),
        ("full_attention", json!({"rope_theta": 1e6})),
        ("truncate", json!("no")),
        ("partial_rotary_factor", json!(0.5)),
        ("attention_factor", json!(-1)),
        ("beta_fast", json!(0.5)),
        ("original_max_position_embeddings", json!(0)),
    ] {
        let mut value = smollm();
        value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0});
        value["rope_scaling"][key] = bad;
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn values_that_change_nothing_are_accepted() {
    let mut value = smollm();
    let plain = read(&value).unwrap();
    for (key, neutral) in [
        ("layer_types", json!(["full_attention"])),
        ("is_causal", json!(true)),
        ("logit_scale", json!(1.0)),
        ("partial_rotary_factor", json!(1.0)),
        ("final_logit_softcapping", json!(null)),
        ("use_sliding_window", json!(false)),
        ("sliding_window", json!(4096)),
    ] {
        value[key] = neutral;
    }
    assert_eq!(read(&value).unwrap(), plain);
    // Ids below zero stand for no token.
    value["bos_token_id"] = json!(-1);
    value["eos_token_id"] = json!([-1, 7]);
    let config = read(&value).unwrap();
    assert_eq!((config.bos_token_id, config.eos_token_ids), (None, vec![7]));
}

#[test]
fn biases_that_a_family_fixes_are_not_read_from_the_configuration() {
    let mut value = smollm();
    value["attention_bias"] = json!(true);
    for (family, biases) in [
        ("llama", (true, true)),
        ("qwen2", (true, false)),
        ("qwen3", (true, true)),
    ] {
        value["model_type"] = json!(family);
        let config = read(&value).unwrap();
        assert_eq!((config.qkv_bias, config.output_bias), biases, "{family}");
    }
}
