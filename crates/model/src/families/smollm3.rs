//! SmolLM3: queries and keys of some layers are not rotated.
//!
//! `no_rope_layers` has 1 for a layer that rotates and 0 for one that does not. Without it, every layer whose number, counted
//! from 1, is a multiple of `no_rope_layer_interval` does not.

use leadspan_kernels::Pairing;
use serde_json::{Map, Value, json};

use super::{DEFAULTS, Defaults, Description, PLAIN, PartKeys};
use crate::{
    config::{
        keys::Keys,
        parts::{LayerKind, Parts, Rotation},
    },
    error::ModelError,
};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "SmolLM3ForCausalLM",
    gguf_architecture: Some("smollm3"),
    // Converters to GGUF reorder the rows of query and key weights, as for Llama.
    gguf_pairing: Pairing::Neighbours,
    defaults: Defaults {
        rope_theta: 2_000_000.0,
        tie_word_embeddings: true,
        ..DEFAULTS
    },
    parts: Some(PartKeys { keys: &[], read, write }),
    ..PLAIN
};

const LAYERS: &str = "no_rope_layers";
const INTERVAL: &str = "no_rope_layer_interval";

fn read(keys: Keys<'_>) -> Result<Parts, ModelError> {
    let count = keys.layer_count()?;
    let rotates: Vec<bool> = if let Some(value) = keys.get(LAYERS) {
        let rotates = |layer: &Value| match layer.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        };
        let layers: Option<Vec<bool>> = value.as_array().and_then(|all| all.iter().map(rotates).collect());
        let refused = || {
            keys.refuse(
                LAYERS,
                format!("it must be a list of 0 or 1 for each of the {count} layers"),
            )
        };
        let layers = layers.filter(|layers| layers.len() >= count).ok_or_else(refused)?;
        layers.into_iter().take(count).collect()
    } else {
        let interval = keys.optional_number(INTERVAL)?.unwrap_or(4);
        if interval == 0 {
            return Err(keys.refuse(INTERVAL, "it must be at least 1"));
        }
        (1..=count).map(|number| !number.is_multiple_of(interval)).collect()
    };
    let kind = |rotates: bool| LayerKind {
        rotation: if rotates { Rotation::Global } else { Rotation::None },
        ..LayerKind::default()
    };
    Ok(Parts {
        layers: rotates.into_iter().map(kind).collect(),
        ..Parts::default()
    })
}

fn write(parts: &Parts, layers: usize, _context: usize) -> Map<String, Value> {
    let rotates = |layer| u8::from(parts.layer(layer).rotation != Rotation::None);
    let rotates: Vec<u8> = (0..layers).map(rotates).collect();
    Map::from_iter([
        (LAYERS.to_owned(), json!(rotates)),
        ("mlp_bias".to_owned(), json!(false)),
        ("pad_token_id".to_owned(), Value::Null),
    ])
}
