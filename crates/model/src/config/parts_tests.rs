//! Configurations of families that differ from a plain decoder, read and written again.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    RotaryScaling,
    parts::{LayerKind, Parts, Rotation},
    tests::read,
};

/// The `config.json` of a fixture.
fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/parity/{name}/config.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The parts of a configuration, with keys changed; null removes one.
fn parts(name: &str, changes: &[(&str, Value)]) -> Parts {
    let mut value = fixture(name);
    for (key, change) in changes {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(*key)),
            change => value[*key] = change.clone(),
        }
    }
    read(&value).unwrap().parts
}

fn windows(parts: &Parts) -> Vec<Option<usize>> {
    parts.layers.iter().map(|layer| layer.window).collect()
}

#[test]
fn a_window_is_read_as_transformers_reads_it() {
    assert_eq!(windows(&parts("mistral", &[])), [Some(7), Some(7)]);
    // A null is no window, and a missing key is one of 4,096 tokens, which hides nothing here.
    let mut value = fixture("mistral");
    value["sliding_window"] = Value::Null;
    assert_eq!(read(&value).unwrap().parts, Parts::default());
    let missing = [("sliding_window", Value::Null)];
    assert_eq!(parts("mistral", &missing), Parts::default());
    // transformers takes a Mistral with this list for a Ministral, whose layers differ.
    let listed = [("layer_types", json!(["full_attention", "sliding_attention"]))];
    assert_eq!(windows(&parts("mistral", &listed)), [None, Some(7)]);
    let mut value = fixture("mistral");
    value["layer_types"] = listed[0].1.clone();
    let config = read(&value).unwrap();
    assert_eq!(read(&config.to_json()).unwrap(), config);
    value["layer_types"] = json!(["full_attention", "full_attention"]);
    assert_eq!(read(&value).unwrap().parts, Parts::default());
    let long = [
        ("sliding_window", Value::Null),
        ("max_position_embeddings", json!(8192)),
    ];
    assert_eq!(windows(&parts("mistral", &long)), [Some(4096), Some(4096)]);
    assert_eq!(windows(&parts("phi3", &long)), Vec::<Option<usize>>::new());
    assert_eq!(windows(&parts("phi3", &[])), [Some(9), Some(9)]);
}

#[test]
fn layers_without_rotation_are_listed_or_come_at_every_interval() {
    let rotations = |changes: &[(&str, Value)]| -> Vec<bool> {
        let layers = parts("smollm3", changes).layers;
        layers.iter().map(|layer| layer.rotation == Rotation::Global).collect()
    };
    assert_eq!(rotations(&[]), [true, false, true]);
    assert_eq!(
        rotations(&[("no_rope_layers", json!([0, 1, 1, 1]))]),
        [false, true, true]
    );
    let interval = |every: u64| {
        [
            ("no_rope_layers", Value::Null),
            ("no_rope_layer_interval", json!(every)),
        ]
    };
    assert_eq!(rotations(&interval(3)), [true, true, false]);
    // All layers of a list rotate: the decoder is plain.
    assert_eq!(
        parts("smollm3", &[("no_rope_layers", json!([1, 1, 1]))]),
        Parts::default()
    );
}

#[test]
fn gemma_is_read_as_both_generations_of_transformers_write_it() {
    let new = read(&fixture("gemma3")).unwrap();
    let (local, global) = (
        LayerKind {
            window: Some(5),
            rotation: Rotation::Local,
            ..LayerKind::default()
        },
        LayerKind::default(),
    );
    assert_eq!(new.parts.layers, [local, global, local]);
    assert_eq!((new.rope_theta, new.parts.local_rope_theta), (1000.0, Some(100.0)));
    assert_eq!(new.rope_scaling, RotaryScaling::Linear { factor: 2.0 });
    let mut old = fixture("gemma3");
    for key in ["rope_parameters", "tie_word_embeddings"] {
        old.as_object_mut().unwrap().remove(key);
    }
    old["rope_theta"] = json!(1000.0);
    old["rope_local_base_freq"] = json!(100.0);
    old["rope_scaling"] = json!({"rope_type": "linear", "factor": 2.0});
    assert_eq!(read(&old).unwrap(), new);
    // Without a list, every sixth layer is global; here with a pattern of two.
    old.as_object_mut().unwrap().remove("layer_types");
    old["sliding_window_pattern"] = json!(2);
    assert_eq!(read(&old).unwrap(), new);
    old.as_object_mut().unwrap().remove("sliding_window_pattern");
    assert_eq!(windows(&read(&old).unwrap().parts), [Some(5), Some(5), Some(5)]);
}

#[test]
fn defaults_of_a_family_are_those_of_transformers() {
    let without = |name: &str, keys: &[&str]| {
        let mut value = fixture(name);
        for key in keys {
            value.as_object_mut().unwrap().remove(*key);
        }
        read(&value)
    };
    let of = |name: &str| without(name, &["rms_norm_eps", "rope_parameters", "tie_word_embeddings"]).unwrap();
    for (name, eps, theta, tied) in [
        ("mistral", 1e-6, 1e4, false),
        ("olmo2", 1e-5, 1e4, false),
        ("smollm3", 1e-6, 2e6, true),
        ("gemma3", 1e-6, 1e6, true),
        ("granite", 1e-6, 1e4, false),
        ("phi3", 1e-5, 1e4, false),
    ] {
        let config = of(name);
        let found = (config.rms_norm_eps, config.rope_theta, config.tie_word_embeddings);
        assert_eq!(found, (eps, theta, tied), "{name}");
    }
    assert_eq!(of("gemma3").parts.local_rope_theta, Some(1e4));
    assert_eq!(
        without("gemma3", &["num_key_value_heads"]).unwrap().num_key_value_heads,
        4
    );
    // Eight do not fit the four query heads of this one.
    let error = without("mistral", &["num_key_value_heads"]).unwrap_err().to_string();
    assert!(error.contains("`num_key_value_heads` is `8`"), "{error}");
}

#[test]
fn a_written_config_of_every_family_reads_back_the_same() {
    for name in [
        "mistral",
        "olmo2",
        "smollm3",
        "gemma3",
        "granite",
        "phi3",
        "phi3_partial",
        "qwen3_5",
    ] {
        let config = read(&fixture(name)).unwrap();
        assert_eq!(read(&config.to_json()).unwrap(), config, "{name}");
    }
}

#[test]
fn what_a_family_does_not_compute_is_refused_by_name() {
    for (name, key, bad) in [
        ("mistral", "sliding_window", json!(0)),
        ("mistral", "sliding_window", json!("wide")),
        ("mistral", "attention_multiplier", json!(0.5)),
        ("mistral", "layer_types", json!(["full_attention", "linear_attention"])),
        ("mistral", "num_hidden_layers", json!(1 << 27)),
        ("smollm3", "no_rope_layers", json!([1, 0])),
        ("smollm3", "no_rope_layers", json!([1, 0, 2])),
        ("smollm3", "use_sliding_window", json!(true)),
        (
            "smollm3",
            "layer_types",
            json!(["full_attention", "sliding_attention", "full_attention"]),
        ),
        ("gemma3", "layer_types", json!(["full_attention"])),
        (
            "gemma3",
            "layer_types",
            json!(["full_attention", "sliding_attention", "chunked_attention"]),
        ),
        ("gemma3", "final_logit_softcapping", json!(30.0)),
        ("gemma3", "attn_logit_softcapping", json!(50.0)),
        ("gemma3", "query_pre_attn_scalar", json!(0)),
        ("gemma3", "hidden_activation", json!("gelu")),
        ("gemma3", "use_bidirectional_attention", json!(true)),
        (
            "gemma3",
            "rope_parameters",
            json!({"rope_theta": 1e4, "rope_type": "default"}),
        ),
        ("gemma3", "rope_scaling", json!({"rope_type": "linear", "factor": 4.0})),
        ("granite", "residual_multiplier", json!(-1)),
        ("granite", "logits_scaling", json!(0)),
        ("granite", "mlp_bias", json!(true)),
        ("mistral", "partial_rotary_factor", json!(0.75)),
        (
            "qwen3_5",
            "layer_types",
            json!(["linear_attention", "sliding_attention", "full_attention"]),
        ),
        ("qwen3_5", "linear_num_value_heads", json!(3)),
        ("qwen3_5", "linear_conv_kernel_dim", json!(0)),
        ("qwen3_5", "attention_bias", json!(true)),
        ("qwen3_5", "attn_output_gate", json!(false)),
        ("llama", "attention_multiplier", json!(0.5)),
    ] {
        let mut value = fixture(name);
        value[key] = bad;
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{name}: {error}");
    }
    for (proportion, problem) in [(0.5, "that of 3 elements"), (0.0, "`0.0`"), (1.5, "`1.5`")] {
        let mut value = fixture("phi3");
        value["rope_parameters"]["partial_rotary_factor"] = json!(proportion);
        let error = read(&value).unwrap_err().to_string();
        assert!(
            error.contains("`partial_rotary_factor`") && error.contains(problem),
            "{error}"
        );
    }
    for (key, bad) in [
        ("short_factor", json!([1.0])),
        ("short_factor", json!([1.0, "one"])),
        ("long_factor", json!(null)),
        ("long_factor", json!([1.0, -1.0])),
        ("short_factor", json!(null)),
    ] {
        let mut value = fixture("phi3_partial");
        value["rope_parameters"][key] = bad;
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
    for key in ["rope_type", "type"] {
        let mut value = fixture("gemma3");
        value["rope_parameters"]["sliding_attention"] = json!({key: "linear", "rope_theta": 100.0});
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains("frequencies of local layers"), "{error}");
    }
}

/// transformers 5.24 adds `rope_scaling` of Gemma 3 to a table with `rope_type`, so it does not see `type`. Version 4 did.
#[test]
fn an_older_name_of_the_kind_of_scaling_is_refused_where_transformers_does_not_read_it() {
    let with = |scaling: Value| {
        let mut value = fixture("gemma3");
        value.as_object_mut().unwrap().remove("rope_parameters");
        value["rope_scaling"] = scaling;
        read(&value)
    };
    let error = with(json!({"type": "linear", "factor": 8.0})).unwrap_err().to_string();
    assert!(
        error.contains("`type` is `linear`") && error.contains("name it `rope_type`"),
        "{error}"
    );
    let named = with(json!({"rope_type": "linear", "type": "linear", "factor": 8.0})).unwrap();
    assert_eq!(named.rope_scaling, RotaryScaling::Linear { factor: 8.0 });
    let none = with(json!({"type": "default"})).unwrap();
    assert_eq!(none.rope_scaling, RotaryScaling::Default);
}

#[test]
fn the_text_part_of_a_model_with_images_is_read_with_what_stands_outside() {
    let text = read(&fixture("gemma3")).unwrap();
    let whole = read(&fixture("gemma3_images")).unwrap();
    assert_eq!((whole.family, &whole.parts), (text.family, &text.parts));
    assert_eq!((text.eos_token_ids, whole.eos_token_ids), (vec![2], vec![2, 3]));
    // As the smallest published one leaves it: the rest is transformers' defaults.
    let published = json!({
        "model_type": "gemma3", "eos_token_id": [1, 106], "vision_config": {},
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024
        }
    });
    let config = read(&published).unwrap();
    let heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
    assert_eq!((heads, config.vocab_size), ((8, 4, 256), 262_208));
    assert_eq!((config.context(), config.tie_word_embeddings), (131_072, true));
    assert_eq!(config.rope_scaling, RotaryScaling::Linear { factor: 8.0 });
    assert_eq!(windows(&config.parts)[4..7], [Some(1024), None, Some(1024)]);
    for (key, bad) in [
        ("text_config", json!(null)),
        ("text_config", json!({"model_type": "gemma2"})),
        ("model_type", json!("gemma3n")),
    ] {
        let mut value = published.clone();
        value[key] = bad;
        let error = read(&value).unwrap_err().to_string();
        let named = if error.contains("gemma2") { "model_type" } else { key };
        assert!(error.contains(&format!("`{named}`")), "{error}");
    }
}

#[test]
fn long_rope_reaches_as_far_as_the_context_of_pre_training() {
    let mut value = fixture("phi3_partial");
    let config = read(&value).unwrap();
    assert_eq!((config.max_position_embeddings, config.context()), (256, 64));
    let RotaryScaling::LongRope { attention_factor, .. } = config.rope_scaling else {
        panic!("{config:?}")
    };
    // √(1 + ln 4 / ln 64)
    assert!((attention_factor - 1.154_700_538).abs() < 1e-9);
    // As transformers 4 wrote it; without a context of pre-training, Phi-3 has 4,096 tokens.
    let table = value["rope_parameters"].clone();
    value.as_object_mut().unwrap().remove("rope_parameters");
    value["rope_theta"] = table["rope_theta"].clone();
    value["partial_rotary_factor"] = json!(0.75);
    value["rope_scaling"] =
        json!({"type": "su", "short_factor": table["short_factor"], "long_factor": table["long_factor"]});
    assert_eq!(read(&value).unwrap(), read(&fixture("phi3_partial")).unwrap());
    value
        .as_object_mut()
        .unwrap()
        .remove("original_max_position_embeddings");
    value["max_position_embeddings"] = json!(131_072);
    assert_eq!(read(&value).unwrap().context(), 4096);
}
