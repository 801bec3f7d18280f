//! OLMo 2: norms stand after the blocks, and the heads of queries and of keys are normalised together.

use super::{DEFAULTS, Defaults, Description, NormPlacement, PLAIN};

pub(super) const DESCRIPTION: Description = Description {
    transformers_class: "Olmo2ForCausalLM",
    gguf_architecture: Some("olmo2"),
    normalises_all_heads: true,
    norm_placement: NormPlacement::After,
    defaults: Defaults {
        rms_norm_eps: 1e-5,
        ..DEFAULTS
    },
    ..PLAIN
};
