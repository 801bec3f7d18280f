//! Mistral: in all layers, or in those that `layer_types` names (Ministral), a token attends to as many tokens as `sliding_window`
//! says. GGUF files of Mistral name the architecture `llama`.

use serde_json::{Map, Value, json};

use super::{
    DEFAULTS, Defaults, Description, PLAIN, PartKeys, VISION,
    layer_types::{FULL, SLIDING, are, window},
};
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
    left_out: VISION,
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
        keys: &["layer_types"],
        read,
        write,
    }),
    ..PLAIN
};

const WINDOW: usize = 4096;

fn read(keys: Keys<'_>) -> Result<Parts, ModelError> {
    let Some(sliding) = are(SLIDING, keys)? else {
        return windows(keys, Some(WINDOW));
    };
    let window = window(keys, Some(WINDOW))?;
    if window.is_none() && sliding.contains(&true) {
        return Err(keys.refuse("sliding_window", "layers of `sliding_attention` need it"));
    }
    let kind = |is_sliding: bool| LayerKind {
        window: window.filter(|_| is_sliding),
        ..LayerKind::default()
    };
    Ok(Parts {
        layers: sliding.into_iter().map(kind).collect(),
        ..Parts::default()
    })
}

fn write(parts: &Parts, layers: usize, context: usize) -> Map<String, Value> {
    let windows: Vec<Option<usize>> = (0..layers).map(|index| parts.layer(index).window).collect();
    let mut keys = write_window(parts, layers, context);
    if let Some(window) = windows.iter().flatten().next().filter(|_| windows.contains(&None)) {
        let kinds = windows
            .iter()
            .map(|window| if window.is_some() { SLIDING } else { FULL });
        keys.insert("layer_types".to_owned(), json!(kinds.collect::<Vec<_>>()));
        keys.insert("sliding_window".to_owned(), json!(window));
    }
    keys
}

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
pub(super) fn write_window(parts: &Parts, _layers: usize, _context: usize) -> Map<String, Value> {
    Map::from_iter([("sliding_window".to_owned(), json!(parts.layer(0).window))])
}
