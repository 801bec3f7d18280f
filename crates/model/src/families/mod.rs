//! The families of decoders: what distinguishes each from a plain decoder, one file a family.
//!
//! To add a family, write its file with a [`Description`] and add its line to the list below. The name of the module is the
//! family's `model_type` in `config.json`. One decoder computes all families, so a description holds only data: names, and
//! which optional parts the layers have. A part that the decoder does not compute yet needs code in `decoder/` first.

mod gemma3_text;
mod granite;
mod layer_types;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_5_text;
mod qwen3_moe;
mod smollm3;
#[cfg(test)]
mod tests;

use leadspan_kernels::Pairing;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::{experts::Experts, keys::Keys, parts::Parts},
    error::ModelError,
};

/// What distinguishes a family. Families spell out what differs from [`PLAIN`].
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub(crate) struct Description {
    /// The class of transformers that computes the family: `architectures` in `config.json`.
    pub(crate) transformers_class: &'static str,
    /// The `model_type` of models with images whose text part is of the family, described by `text_config`.
    pub(crate) with_images: Option<&'static str>,
    /// The beginnings of the names of weights that a model for text leaves out though published models of the family have them,
    /// as transformers leaves them out: those that see images, and those that predict tokens further on.
    pub(crate) left_out: &'static [&'static str],
    /// The name in a GGUF file (`general.architecture`); `None` if GGUF files of the family are not read.
    pub(crate) gguf_architecture: Option<&'static str>,
    /// Which elements of a head rotate together in GGUF files of the family.
    pub(crate) gguf_pairing: Pairing,
    /// The keys of a GGUF file, without the name of the architecture, that describe parts of the family. Other families refuse them.
    pub(crate) gguf_part_keys: &'static [&'static str],
    /// The head width if `config.json` has no `head_dim`. `None` stands for the hidden width divided by the query heads.
    pub(crate) default_head_dim: Option<usize>,
    /// Whether query, key and value projections have biases even if `config.json` has no `attention_bias`.
    pub(crate) has_qkv_biases: bool,
    /// Whether `attention_bias` of `config.json` gives all projections of attention biases. transformers does not read the key
    /// for other families.
    pub(crate) reads_attention_bias: bool,
    /// Whether each head of queries and keys is normalised.
    pub(crate) normalises_heads: bool,
    /// Whether all heads of queries, and all heads of keys, are normalised together.
    pub(crate) normalises_all_heads: bool,
    /// Where a layer has norms.
    pub(crate) norm_placement: NormPlacement,
    /// Whether norms multiply by 1 + weight.
    pub(crate) norms_around_one: bool,
    /// The nonlinearity of the feed-forward block.
    pub(crate) activation: Activation,
    /// Whether the result of attention is multiplied by the sigmoid of a projection, which is stored with the queries.
    pub(crate) gates_attention: bool,
    /// Whether queries, keys and values are stored as one weight `qkv_proj`, and gate and up as `gate_up_proj`.
    pub(crate) stores_joined_weights: bool,
    /// What transformers takes for keys that `config.json` does not have.
    pub(crate) defaults: Defaults,
    /// The switch that this decoder does not support, written as off to `config.json`.
    pub(crate) unsupported_switch: &'static str,
    /// How windows, layers without rotation and multipliers are described, if models of the family may have them.
    pub(crate) parts: Option<PartKeys>,
    /// How experts are described, if models of the family may have them. Such models run as teachers only.
    pub(crate) experts: Option<ExpertKeys>,
}

/// What transformers takes for keys that `config.json` does not have, where families differ.
pub(crate) struct Defaults {
    pub(crate) rms_norm_eps: f64,
    pub(crate) rope_theta: f64,
    /// The base of local layers, if the family has layers with a base of their own.
    pub(crate) local_rope_theta: Option<f64>,
    pub(crate) tie_word_embeddings: bool,
    /// The proportion of a head that rotates; `None` if only whole heads do in models of the family.
    pub(crate) partial_rotary: Option<f64>,
    /// Whole numbers by their keys, in a family whose published configurations leave them out.
    pub(crate) numbers: &'static [(&'static str, usize)],
}

/// Where a layer has norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormPlacement {
    /// Before each block.
    Before,
    /// After each block, before its result is added to the residual stream.
    After,
    /// Before and after each block.
    Around,
}

/// The nonlinearity of the feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x · σ(x)
    Silu,
    /// GELU in its approximation by tanh.
    GeluTanh,
}

impl Activation {
    /// The name in `config.json`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_pytorch_tanh",
        }
    }
}

/// How a family describes its [`Parts`].
pub(crate) struct PartKeys {
    /// The keys that the family reads though other families refuse them.
    pub(crate) keys: &'static [&'static str],
    /// Reads the parts from `config.json`.
    pub(crate) read: fn(Keys<'_>) -> Result<Parts, ModelError>,
    /// The keys of `config.json` for these parts, in a model of so many layers with a context of so many tokens.
    pub(crate) write: fn(&Parts, usize, usize) -> Map<String, Value>,
}

/// How a family describes its experts.
pub(crate) struct ExpertKeys {
    /// Reads the experts from `config.json`; `None` if no layer has any.
    pub(crate) read: fn(Keys<'_>) -> Result<Option<Experts>, ModelError>,
    /// The keys of `config.json` for these experts, in a model of so many layers.
    pub(crate) write: fn(&Experts, usize) -> Map<String, Value>,
    /// [`Experts::normalize`] of GGUF files, which have no key for it.
    pub(crate) normalize_in_gguf: bool,
}

/// A decoder without biases, normalised heads or experts. The names are missing: each family has its own.
const PLAIN: Description = Description {
    transformers_class: "",
    with_images: None,
    left_out: &[],
    gguf_architecture: None,
    gguf_pairing: Pairing::Halves,
    gguf_part_keys: &[],
    default_head_dim: None,
    has_qkv_biases: false,
    reads_attention_bias: true,
    normalises_heads: false,
    normalises_all_heads: false,
    norm_placement: NormPlacement::Before,
    norms_around_one: false,
    activation: Activation::Silu,
    gates_attention: false,
    stores_joined_weights: false,
    defaults: DEFAULTS,
    unsupported_switch: "use_sliding_window",
    parts: None,
    experts: None,
};

/// [`Description::left_out`] of models that see images by a tower and a projector.
const VISION: &[&str] = &[
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
];

const DEFAULTS: Defaults = Defaults {
    rms_norm_eps: 1e-6,
    rope_theta: 10_000.0,
    local_rope_theta: None,
    tie_word_embeddings: false,
    partial_rotary: None,
    numbers: &[],
};

/// Declares the families: a variant, and the module with its description.
macro_rules! families {
    ($($(#[$attribute:meta])* $module:ident::$family:ident,)*) => {
        /// A family of decoders.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Family {
            $($(#[$attribute])* $family,)*
        }

        impl Family {
            /// All families.
            pub(crate) const ALL: &[Self] = &[$(Self::$family),*];

            /// The name in `config.json` (`model_type`).
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$family => stringify!($module),)*
                }
            }

            /// What distinguishes the family.
            pub(crate) const fn description(self) -> &'static Description {
                match self {
                    $(Self::$family => &$module::DESCRIPTION,)*
                }
            }
        }
    };
}

families! {
    /// Llama and models that share its architecture, such as `SmolLM2`.
    llama::Llama,
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    qwen2::Qwen2,
    /// Qwen3 (dense): queries and keys are normalised per head.
    qwen3::Qwen3,
    /// Qwen3 with a mixture of experts: runs as a teacher, cannot be trained.
    qwen3_moe::Qwen3Moe,
    /// Mistral: all layers may have a window.
    mistral::Mistral,
    /// OLMo 2: norms after the blocks, and over all heads.
    olmo2::Olmo2,
    /// SmolLM3: some layers do not rotate.
    smollm3::Smollm3,
    /// Gemma 3 for text: norms around the blocks, local and global layers.
    gemma3_text::Gemma3Text,
    /// Granite: multipliers of embeddings, scores, residuals and logits.
    granite::Granite,
    /// Phi-3 and Phi-4: weights stored jointly.
    phi3::Phi3,
    /// Qwen3.5 (dense): layers of linear attention; runs as a teacher, cannot be trained.
    qwen3_5_text::Qwen3_5Text,
}

impl Family {
    /// The family with this `model_type`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.as_str() == name)
    }

    /// The family of the text part of models with images of this `model_type`.
    pub(crate) fn of_text_part(name: &str) -> Option<Self> {
        let mut families = Self::ALL.iter().copied();
        families.find(|family| family.description().with_images == Some(name))
    }

    /// The family with this `general.architecture`.
    pub(crate) fn from_gguf_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|family| family.description().gguf_architecture == Some(name))
    }

    /// The `name` of every family that has one, for messages: `` `a`, `b` and `c` ``.
    pub(crate) fn list(name: fn(Self) -> Option<&'static str>) -> String {
        let names = Self::ALL.iter().filter_map(|&family| name(family));
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let (last, others) = names.split_last().expect("there are families");
        format!("{} and {last}", others.join(", "))
    }
}

#[cfg(test)]
mod names {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_names() {
        for &family in Family::ALL {
            assert_eq!(Family::from_name(family.as_str()), Some(family));
            let description = family.description();
            if let Some(name) = description.gguf_architecture {
                assert_eq!(Family::from_gguf_name(name), Some(family));
            }
            assert!(description.transformers_class.ends_with("ForCausalLM"));
            // Fingerprints of configurations have the serialised name.
            assert_eq!(serde_json::to_value(family).unwrap(), family.as_str());
        }
        assert_eq!(Family::from_name("mamba"), None);
        assert_eq!(
            Family::list(|family| Some(family.as_str())),
            "`llama`, `qwen2`, `qwen3`, `qwen3_moe`, `mistral`, `olmo2`, `smollm3`, `gemma3_text`, `granite`, \
             `phi3` and `qwen3_5_text`"
        );
        assert_eq!(
            Family::list(|family| family.description().gguf_architecture),
            "`llama`, `qwen2`, `qwen3`, `qwen3moe`, `olmo2`, `smollm3`, `gemma3` and `granite`"
        );
    }
}
