//! Mistral: in all layers, a token attends to as many tokens as `sliding_window` says. GGUF files of Mistral name the
//! architecture `llama`.

use serde_json::{Map, Value, json};

use super::{DEFAULTS, Defaults, Description, PLAIN, PartKeys, layer_types::window};
use crate::{
    config::{
        keys::Keys,
        parts::{LayerKind, Parts},
    },
    error::ModelError,
};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "MistralForCausalLM",
    with_images: Some("mistral3"),
    reads_attention_bias: false,
    defaults: Defaults {
        numbers: &[
            ("vocab_size", 32_000),
            ("hidden_size", 4096),
            ("intermediate_size", 14_336),
            ("num_hidden_layers", 32),
            ("num_attention_heads", 32),
            ("num_key_value_heads", 8),
            ("max_position_embeddings", 131_072),
        ],
        ..DEFAULTS
    },
    parts: Some(PartKeys {
        keys: &[],
        read: |keys| windows(keys, Some(4096)),
        write,
    }),
    ..PLAIN
};

/// Parts in which all layers have the window of `sliding_window`, or `default` if there is no such key.
pub(super) fn windows(keys: Keys<'_>, default: Option<usize>) -> Result<Parts, ModelError> {
    let kind = LayerKind {
        window: window(keys, default)?,
        ..LayerKind::default()
    };
    Ok(Parts {
        layers: vec![kind; keys.layer_count()?],
        ..Parts::default()
    })
}

/// The window of all layers.
pub(super) fn write(parts: &Parts, _layers: usize, _context: usize) -> Map<String, Value> {
    Map::from_iter([("sliding_window".to_owned(), json!(parts.layer(0).window))])
}
