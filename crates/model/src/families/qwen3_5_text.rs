//! Qwen3.5 (dense): three of four layers have linear attention by the gated delta rule; in the others, the result of attention is
//! gated and a quarter of each head rotates. Norms are stored as their difference from 1.
//!
//! Without `layer_types`, every layer whose number, counted from 1, is a multiple of `full_attention_interval` attends.

use serde_json::{Map, Value, json};

use super::{
    DEFAULTS, Defaults, Description, PLAIN, PartKeys,
    layer_types::{FULL, are},
};
use crate::{
    config::{
        keys::{Keys, UNSUPPORTED},
        parts::{LayerKind, LinearAttention, Parts},
    },
    error::ModelError,
};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "Qwen3_5ForCausalLM",
    with_images: Some("qwen3_5"),
    left_out: &["model.visual.", "mtp."],
    default_head_dim: Some(256),
    reads_attention_bias: false,
    normalises_heads: true,
    norms_around_one: true,
    gates_attention: true,
    defaults: Defaults {
        partial_rotary: Some(0.25),
        numbers: &[
            ("vocab_size", 248_320),
            ("hidden_size", 4096),
            ("intermediate_size", 12_288),
            ("num_hidden_layers", 32),
            ("num_attention_heads", 16),
            ("num_key_value_heads", 4),
            ("max_position_embeddings", 32_768),
            (KEY_HEADS, 16),
            (VALUE_HEADS, 32),
            (KEY_DIM, 128),
            (VALUE_DIM, 128),
            (TAPS, 4),
        ],
        ..DEFAULTS
    },
    parts: Some(PartKeys {
        keys: &["layer_types"],
        read,
        write,
    }),
    ..PLAIN
};

const LINEAR: &str = "linear_attention";
const INTERVAL: &str = "full_attention_interval";
const KEY_HEADS: &str = "linear_num_key_heads";
const VALUE_HEADS: &str = "linear_num_value_heads";
const KEY_DIM: &str = "linear_key_head_dim";
const VALUE_DIM: &str = "linear_value_head_dim";
const TAPS: &str = "linear_conv_kernel_dim";

fn read(keys: Keys<'_>) -> Result<Parts, ModelError> {
    if keys.is_on("attention_bias")? {
        return Err(keys.refuse("attention_bias", UNSUPPORTED));
    }
    if keys.get("attn_output_gate").is_some() && !keys.is_on("attn_output_gate")? {
        return Err(keys.refuse("attn_output_gate", "attention without its gate is not supported"));
    }
    let count = keys.layer_count()?;
    let linear = if let Some(linear) = are(LINEAR, keys)? {
        linear
    } else {
        let interval = keys.optional_number(INTERVAL)?.unwrap_or(4);
        if interval == 0 {
            return Err(keys.refuse(INTERVAL, "it must be at least 1"));
        }
        (1..=count).map(|number| !number.is_multiple_of(interval)).collect()
    };
    let kind = |is_linear: bool| LayerKind {
        is_linear,
        ..LayerKind::default()
    };
    Ok(Parts {
        layers: linear.into_iter().map(kind).collect(),
        linear: Some(LinearAttention {
            key_heads: keys.number(KEY_HEADS)?,
            value_heads: keys.number(VALUE_HEADS)?,
            key_dim: keys.number(KEY_DIM)?,
            value_dim: keys.number(VALUE_DIM)?,
            taps: keys.number(TAPS)?,
        }),
        ..Parts::default()
    })
}

fn write(parts: &Parts, layers: usize, _context: usize) -> Map<String, Value> {
    let kinds = (0..layers).map(|index| if parts.layer(index).is_linear { LINEAR } else { FULL });
    let mut keys = Map::from_iter([("layer_types".to_owned(), json!(kinds.collect::<Vec<_>>()))]);
    if let Some(linear) = parts.linear {
        keys.extend(
            [
                (KEY_HEADS, linear.key_heads),
                (VALUE_HEADS, linear.value_heads),
                (KEY_DIM, linear.key_dim),
                (VALUE_DIM, linear.value_dim),
                (TAPS, linear.taps),
            ]
            .map(|(key, number)| (key.to_owned(), json!(number))),
        );
    }
    keys
}
