//! Phi-3 and Phi-4: one weight for queries, keys and values, one for gate and up, and a window if `sliding_window` says so.
//! Models with `LongRoPE` reach no further than the context of pre-training.

use serde_json::{Map, Value};

use super::{
    DEFAULTS, Defaults, Description, PLAIN, PartKeys,
    mistral::{windows, write_window},
};
use crate::config::parts::Parts;

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "Phi3ForCausalLM",
    reads_attention_bias: false,
    stores_joined_weights: true,
    defaults: Defaults {
        rms_norm_eps: 1e-5,
        partial_rotary: Some(1.0),
        numbers: &[("original_max_position_embeddings", 4096)],
        ..DEFAULTS
    },
    parts: Some(PartKeys {
        keys: &[],
        read: |keys| windows(keys, None),
        write,
    }),
    ..PLAIN
};

fn write(parts: &Parts, layers: usize, context: usize) -> Map<String, Value> {
    let mut keys = write_window(parts, layers, context);
    keys.insert("pad_token_id".to_owned(), Value::Null);
    keys
}
