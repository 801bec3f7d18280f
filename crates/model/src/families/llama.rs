//! Llama and models that share its architecture, such as `SmolLM2`: the plain decoder.

use leadspan_kernels::Pairing;

use super::{Description, PLAIN};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "LlamaForCausalLM",
    gguf_architecture: Some("llama"),
    // Converters to GGUF reorder the rows of query and key weights for this family alone.
    gguf_pairing: Pairing::Neighbours,
    unsupported_switch: "mlp_bias",
    ..PLAIN
};
