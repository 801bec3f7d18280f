//! Gemma 3 for text: norms around the blocks whose weights are stored as their difference from 1, embeddings multiplied by the
//! root of their width, GELU, and local layers with a window and a rotary base of their own.
//!
//! `query_pre_attn_scalar` takes the place of the width of a head in the factor of the scores. Without `layer_types`, all layers
//! but every sixth are local (`sliding_window_pattern`). The two soft caps, which no published model has, are refused.

use serde_json::{Map, Value, json};

use super::{
    Activation, DEFAULTS, Defaults, Description, NormPlacement, PLAIN, PartKeys, VISION,
    layer_types::{FULL, SLIDING, are, window},
};
use crate::{
    config::{
        keys::Keys,
        parts::{LayerKind, Parts, Rotation},
    },
    error::ModelError,
};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "Gemma3ForCausalLM",
    with_images: Some("gemma3"),
    left_out: VISION,
    gguf_architecture: Some("gemma3"),
    gguf_part_keys: &[
        "attention.sliding_window",
        "attention.sliding_window_pattern",
        "rope.freq_base_swa",
    ],
    default_head_dim: Some(256),
    normalises_heads: true,
    norm_placement: NormPlacement::Around,
    norms_around_one: true,
    activation: Activation::GeluTanh,
    defaults: Defaults {
        rope_theta: 1_000_000.0,
        local_rope_theta: Some(10_000.0),
        tie_word_embeddings: true,
        numbers: &[
            ("vocab_size", 262_208),
            ("hidden_size", 2304),
            ("intermediate_size", 9216),
            ("num_hidden_layers", 26),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("max_position_embeddings", 131_072),
        ],
        ..DEFAULTS
    },
    parts: Some(PartKeys {
        keys: &[SCALAR, "layer_types"],
        read,
        write,
    }),
    ..PLAIN
};

const SCALAR: &str = "query_pre_attn_scalar";
const PATTERN: &str = "sliding_window_pattern";

fn read(keys: Keys<'_>) -> Result<Parts, ModelError> {
    let count = keys.layer_count()?;
    let local = if let Some(local) = are(SLIDING, keys)? {
        local
    } else {
        let pattern = keys.optional_number(PATTERN)?.unwrap_or(6);
        if pattern == 0 {
            return Err(keys.refuse(PATTERN, "it must be at least 1"));
        }
        (1..=count).map(|number| !number.is_multiple_of(pattern)).collect()
    };
    let window = window(keys, Some(4096))?;
    if window.is_none() && local.contains(&true) {
        return Err(keys.refuse("sliding_window", "local layers need it"));
    }
    let kind = |is_local: bool| {
        if is_local {
            LayerKind {
                window,
                rotation: Rotation::Local,
                ..LayerKind::default()
            }
        } else {
            LayerKind::default()
        }
    };
    let scalar = keys.float(SCALAR)?.unwrap_or(256.0);
    if !(scalar.is_finite() && scalar > 0.0) {
        return Err(keys.refuse(SCALAR, "it must be a positive number"));
    }
    Ok(Parts {
        layers: local.into_iter().map(kind).collect(),
        score_scale: Some(scalar.powf(-0.5)),
        embedding_scale: (keys.number("hidden_size")? as f64).sqrt(),
        ..Parts::default()
    })
}

fn write(parts: &Parts, layers: usize, context: usize) -> Map<String, Value> {
    let layers = (0..layers).map(|index| parts.layer(index));
    let is_local = |kind: LayerKind| kind.rotation == Rotation::Local;
    let window = layers.clone().find_map(|kind| kind.window);
    let types: Vec<&str> = layers.map(|kind| if is_local(kind) { SLIDING } else { FULL }).collect();
    let scalar = parts.score_scale.unwrap_or(1.0).powi(-2);
    // transformers wants a whole number, from which the factor was computed.
    let scalar = if (scalar - scalar.round()).abs() < 1e-6 * scalar {
        json!(scalar.round() as u64)
    } else {
        json!(scalar)
    };
    Map::from_iter([
        ("hidden_activation".to_owned(), json!(Activation::GeluTanh.as_str())),
        ("layer_types".to_owned(), json!(types)),
        // A window that hides nothing is none.
        ("sliding_window".to_owned(), json!(window.unwrap_or(context))),
        (SCALAR.to_owned(), scalar),
        ("rope_local_base_freq".to_owned(), json!(parts.local_rope_theta)),
        ("pad_token_id".to_owned(), Value::Null),
    ])
}
