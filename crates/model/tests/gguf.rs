//! Keys and tensors of GGUF files that change what a model computes are applied or refused by name.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{fs, path::Path};

use leadspan_diagnosis::Diagnosis as _;
use leadspan_model::{DecoderConfig, ModelError, ModelSource, RotaryScaling};

// The kinds of values.
const U16: u32 = 2;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures")
            .join(name),
    )
    .unwrap()
}

fn whole() -> Vec<u8> {
    fixture("tiny-teacher.gguf")
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn key(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key), &kind.to_le_bytes()[..], value].concat()
}

/// The tiny teacher's file with more keys before its own.
fn with_keys(keys: &[Vec<u8>]) -> Vec<u8> {
    with_keys_in(whole(), keys)
}

fn with_keys_in(mut bytes: Vec<u8>, keys: &[Vec<u8>]) -> Vec<u8> {
    let mut added = keys.concat();
    // Tensors stay aligned if the header grows by a multiple of the alignment.
    let filler = key("filler", TEXT, &text(""));
    let length = (32 - (added.len() + filler.len()) % 32) % 32;
    added.extend(key("filler", TEXT, &text(&"x".repeat(length))));
    let count = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + keys.len() as u64 + 1;
    bytes[16..24].copy_from_slice(&count.to_le_bytes());
    bytes.splice(24..24, added);
    bytes
}

/// The place after the first occurrence of a text with its length.
fn after(bytes: &[u8], name: &str) -> usize {
    let name = text(name);
    let place = bytes.windows(name.len()).position(|window| window == name);
    place.unwrap() + name.len()
}

fn config(bytes: &[u8]) -> Result<DecoderConfig, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    ModelSource::open(&path).map(|source| source.config().clone())
}

fn refusal(bytes: &[u8]) -> String {
    let error = config(bytes).unwrap_err();
    assert!(!error.is_unexpected(), "{error}");
    format!("{error}\n{}", error.hint().unwrap_or_default())
}

#[test]
fn rotary_scaling_is_read_as_llama_cpp_reads_it() {
    let number = |name: &str, value: f32| key(&format!("llama.{name}"), F32, &value.to_le_bytes());
    let kind = |value: &str| key("llama.rope.scaling.type", TEXT, &text(value));
    let linear = |factor| RotaryScaling::Linear { factor };
    for (keys, expected) in [
        (vec![], RotaryScaling::Default),
        (vec![number("rope.scale_linear", 4.0)], linear(4.0)),
        (vec![number("rope.scaling.factor", 8.0)], linear(8.0)),
        (vec![kind("linear"), number("rope.scaling.factor", 8.0)], linear(8.0)),
        (
            vec![number("rope.scaling.factor", 8.0), number("rope.scale_linear", 4.0)],
            linear(8.0),
        ),
        (
            vec![kind("none"), number("rope.scaling.factor", 8.0)],
            RotaryScaling::Default,
        ),
        (vec![number("rope.scale_linear", 1.0)], RotaryScaling::Default),
        (vec![number("rope.scale_linear", 0.0)], RotaryScaling::Default),
    ] {
        assert_eq!(config(&with_keys(&keys)).unwrap().rope_scaling, expected);
    }
    let yarn = |keys: &[Vec<u8>]| {
        let keys = [&[kind("yarn"), number("rope.scaling.factor", 4.0)], keys].concat();
        config(&with_keys(&keys)).unwrap().rope_scaling
    };
    let expected = |attention_factor: f64, beta_fast: f64, beta_slow: f64, original: usize| RotaryScaling::Yarn {
        factor: 4.0,
        original_max_position_embeddings: original,
        attention_factor,
        beta_fast,
        beta_slow,
        truncate: true,
    };
    // llama.cpp multiplies queries and keys with 1 + 0.1 ln(factor), and with the first key.
    let usual = 0.1 * 4f64.ln() + 1.0;
    assert_eq!(yarn(&[]), expected(usual, 32.0, 1.0, 4096));
    assert_eq!(
        yarn(&[
            number("rope.scaling.attn_factor", 1.25),
            number("rope.scaling.yarn_beta_fast", 16.0),
            number("rope.scaling.yarn_beta_slow", 2.0),
            key(
                "llama.rope.scaling.original_context_length",
                I32,
                &1024i32.to_le_bytes()
            ),
        ]),
        expected(usual * 1.25, 16.0, 2.0, 1024)
    );
    // Values that change nothing.
    assert_eq!(
        yarn(&[
            number("rope.scaling.attn_factor", 1.0),
            number("rope.scaling.yarn_attn_factor", 1.0),
            number("rope.scaling.yarn_ext_factor", -1.0),
            number("rope.scaling.yarn_log_multiplier", 0.0),
        ]),
        expected(usual, 32.0, 1.0, 4096)
    );
    for name in ["rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor"] {
        let message = refusal(&with_keys(&[
            kind("yarn"),
            number("rope.scaling.factor", 4.0),
            number(name, 0.5),
        ]));
        assert!(message.contains(&format!("`llama.{name}` is `0.5`")), "{message}");
    }
}

#[test]
fn keys_that_change_what_is_computed_are_refused_by_name() {
    let number = |name: &str, value: f32| {
        (
            name.to_owned(),
            key(&format!("llama.{name}"), F32, &value.to_le_bytes()),
        )
    };
    let whole = |name: &str, value: i32| {
        (
            name.to_owned(),
            key(&format!("llama.{name}"), I32, &value.to_le_bytes()),
        )
    };
    let switch = |name: &str, value: u8| (name.to_owned(), key(&format!("llama.{name}"), BOOL, &[value]));
    let kind = |value: &str| key("llama.rope.scaling.type", TEXT, &text(value));
    for (name, key) in [
        number("rope.scaling.attn_factor", 1.2),
        number("rope.scaling.yarn_log_multiplier", 0.1),
        number("rope.freq_base_swa", 1e4),
        whole("rope.dimension_sections", 2),
        ("rope.scaling.type".to_owned(), kind("longrope")),
        (
            "rope.scaling.type".to_owned(),
            key("llama.rope.scaling.type", I32, &[0; 4]),
        ),
        (
            "rope.scaling.factor".to_owned(),
            key("llama.rope.scaling.factor", TEXT, &text("8")),
        ),
        number("attention.scale", 0.1),
        number("attention.clamp_kqv", 8.0),
        whole("attention.sliding_window", 16),
        whole("attention.value_length", 6),
        switch("attention.causal", 0),
        number("logit_scale", 0.5),
        number("final_logit_softcapping", 30.0),
        whole("expert_shared_count", 1),
        switch("use_parallel_residual", 1),
        number("swiglu_clamp_exp", 7.0),
        whole("nextn_predict_layers", 1),
        whole("expert_count", 8),
        number("some_later_key", 7.0),
        ("hidden_act".to_owned(), key("llama.hidden_act", TEXT, &text("gelu"))),
        (
            "attention.key_length".to_owned(),
            key("llama.attention.key_length", LIST, &numbers(&[8, 16])),
        ),
    ] {
        let message = refusal(&with_keys(&[key]));
        assert!(message.contains(&format!("`llama.{name}` is `")), "{name}: {message}");
        let is_unknown = ["swiglu_clamp_exp", "some_later_key", "hidden_act"].contains(&name.as_str());
        assert!(!is_unknown || message.contains("`teacher.server`"), "{name}: {message}");
    }
    // Values that change nothing.
    for (_, key) in [
        whole("attention.sliding_window", 0),
        whole("attention.sliding_window", 1 << 20),
        switch("attention.causal", 1),
        number("logit_scale", 1.0),
        number("final_logit_softcapping", 0.0),
        number("swiglu_clamp_exp", 0.0),
        whole("expert_count", 0),
        whole("pooling_type", 3),
        whole("vision.block_count", 27),
        (
            "attention.key_length".to_owned(),
            key("llama.attention.key_length", LIST, &numbers(&[8, 8])),
        ),
    ] {
        config(&with_keys(&[key])).unwrap();
    }
    // A part of each head would be rotated.
    let mut bytes = self::whole();
    let place = after(&bytes, "llama.rope.dimension_count") + 4;
    bytes[place] = 4;
    let message = refusal(&bytes);
    assert!(message.contains("`llama.rope.dimension_count` is `4`"), "{message}");
}

/// A list of whole numbers.
fn numbers(values: &[i32]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [
        &I32.to_le_bytes(),
        &(values.len() as u64 / 4).to_le_bytes()[..],
        &values,
    ]
    .concat()
}

/// A list of switches.
fn switches(values: &[u8]) -> Vec<u8> {
    [&BOOL.to_le_bytes(), &(values.len() as u64).to_le_bytes()[..], values].concat()
}

#[test]
fn local_layers_of_gemma3_are_those_of_its_keys() {
    let of = |keys: &[Vec<u8>]| config(&with_keys_in(fixture("gguf/gemma3.gguf"), keys));
    let pattern = |value: i32| key("gemma3.attention.sliding_window_pattern", I32, &value.to_le_bytes());
    let list = |values: &[u8]| key("gemma3.attention.sliding_window_pattern", LIST, &switches(values));
    for (keys, globals) in [
        (vec![], vec![5]),
        (vec![pattern(3)], vec![2, 5]),
        (vec![pattern(1)], vec![0, 1, 2, 3, 4, 5]),
        (vec![list(&[0, 1, 1, 0, 1, 1])], vec![0, 3]),
    ] {
        let parts = of(&keys).unwrap().parts;
        let is_global = |index: &usize| parts.layers.get(*index).is_none_or(|layer| layer.window.is_none());
        assert_eq!((0..6).filter(is_global).collect::<Vec<_>>(), globals);
    }
    let base = key("gemma3.rope.freq_base_swa", F32, &500f32.to_le_bytes());
    assert_eq!(of(&[]).unwrap().parts.local_rope_theta, Some(10_000.0));
    assert_eq!(of(&[base]).unwrap().parts.local_rope_theta, Some(500.0));
    for keys in [pattern(0), pattern(-1), list(&[1, 1]), list(&[])] {
        let message = refusal(&with_keys_in(fixture("gguf/gemma3.gguf"), &[keys]));
        assert!(
            message.contains("`gemma3.attention.sliding_window_pattern` is `"),
            "{message}"
        );
    }
    let cap = key("gemma3.final_logit_softcapping", F32, &30f32.to_le_bytes());
    let message = refusal(&with_keys_in(fixture("gguf/gemma3.gguf"), &[cap]));
    assert!(
        message.contains("`gemma3.final_logit_softcapping` is `30`"),
        "{message}"
    );
}

#[test]
fn what_one_family_reads_another_refuses() {
    for (file, name, kind, value) in [
        ("granite", "granite.rope.scaling.finetuned", BOOL, vec![0]),
        (
            "granite",
            "granite.attention.sliding_window",
            I32,
            8i32.to_le_bytes().to_vec(),
        ),
        (
            "olmo2",
            "olmo2.attention.sliding_window",
            I32,
            8i32.to_le_bytes().to_vec(),
        ),
        ("olmo2", "olmo2.rope.freq_base_swa", F32, 1e4f32.to_le_bytes().to_vec()),
        (
            "olmo2",
            "olmo2.attention.sliding_window_pattern",
            I32,
            4i32.to_le_bytes().to_vec(),
        ),
        ("smollm3", "smollm3.attention.scale", F32, 0.5f32.to_le_bytes().to_vec()),
        ("gemma3", "gemma3.logit_scale", F32, 0.5f32.to_le_bytes().to_vec()),
    ] {
        let file = fixture(&format!("gguf/{file}.gguf"));
        let message = refusal(&with_keys_in(file, &[key(name, kind, &value)]));
        assert!(message.contains(&format!("`{name}` is `")), "{name}: {message}");
    }
    // A list of layers is no longer than the file.
    let mut bytes = fixture("gguf/smollm3.gguf");
    let place = after(&bytes, "smollm3.block_count") + 4;
    bytes[place..][..4].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    let message = refusal(&bytes);
    assert!(message.contains("`smollm3.block_count` is `2147483647`"), "{message}");
}

#[test]
fn tensors_that_are_not_read_are_refused_by_name() {
    for (kind, name) in [
        (23u32, "IQ4_XS"),
        (9, "Q8_1"),
        (16, "IQ2_XXS"),
        (20, "IQ4_NL"),
        (24, "I8"),
        (28, "F64"),
        (34, "TQ1_0"),
        (39, "MXFP4"),
        (99, "type 99"),
    ] {
        let mut bytes = whole();
        let place = after(&bytes, "blk.0.attn_q.weight") + 4 + 2 * 8;
        bytes[place..][..4].copy_from_slice(&kind.to_le_bytes());
        let message = refusal(&bytes);
        assert!(
            message.contains("`blk.0.attn_q.weight`") && message.contains(&format!("stored as {name},")),
            "{message}"
        );
        assert!(
            message.contains("Q2_K to Q8_K") && !message.contains("truncated"),
            "{message}"
        );
    }
    // A tensor that the architecture does not have, such as a norm of queries.
    let mut bytes = whole();
    let place = after(&bytes, "blk.0.attn_q.weight") - "weight".len();
    bytes[place..][..6].copy_from_slice(b"sinks!");
    let message = refusal(&bytes);
    assert!(
        message.contains("`blk.0.attn_q.sinks!`") && message.contains("no such weight"),
        "{message}"
    );
}

#[test]
fn a_name_or_a_key_alone_makes_no_piece_of_a_model() {
    let message = refusal(&with_keys(&[key("split.count", U16, &3u16.to_le_bytes())]));
    assert!(message.contains("`split.count` is 3"), "{message}");
    assert!(message.contains("llama-gguf-split --merge"), "{message}");
    config(&with_keys(&[key("split.count", U16, &1u16.to_le_bytes())])).unwrap();
    // Without the key, the name says it.
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        ModelSource::open(&path).map(drop)
    };
    match open("model-00001-of-00003.gguf", &whole()).unwrap_err() {
        ModelError::SplitGguf { path, .. } => assert!(path.ends_with("model-00001-of-00003.gguf")),
        other => panic!("{other}"),
    }
    for name in [
        "model-00001-of-00001.gguf",
        "model-1-of-3.gguf",
        "best-of-00003.gguf",
        "model.gguf",
    ] {
        open(name, &whole()).unwrap();
    }
    // What `llama-gguf-split --merge` writes.
    let joined = with_keys(&[key("split.count", U16, &0u16.to_le_bytes())]);
    open("model-00001-of-00003.gguf", &joined).unwrap();
}

#[test]
fn names_that_occur_twice_are_refused() {
    let again = key("llama.block_count", I32, &1i32.to_le_bytes());
    let message = refusal(&with_keys(&[again]));
    assert!(message.contains("two of its keys have one name"), "{message}");
    let mut bytes = whole();
    let place = after(&bytes, "blk.0.attn_k.weight") - "k.weight".len();
    bytes[place] = b'q';
    let message = refusal(&bytes);
    assert!(message.contains("two of its tensors have one name"), "{message}");
}
