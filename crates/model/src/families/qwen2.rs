//! Qwen2 and Qwen2.5: queries, keys and values have biases.

use super::{Description, PLAIN};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "Qwen2ForCausalLM",
    gguf_architecture: Some("qwen2"),
    has_qkv_biases: true,
    reads_attention_bias: false,
    ..PLAIN
};
