//! Qwen3 (dense): queries and keys are normalised per head, and heads are 128 wide unless `config.json` says otherwise.

use super::{Description, PLAIN};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "Qwen3ForCausalLM",
    gguf_architecture: Some("qwen3"),
    default_head_dim: Some(128),
    normalises_heads: true,
    ..PLAIN
};
