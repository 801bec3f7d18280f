//! The families of decoders: what distinguishes each from a plain decoder, one file a family.
//!
//! To add a family, write its file with a [`Description`] and add its line to the list below. The name of the module is the
//! family's `model_type` in `config.json`. One decoder computes all families, so a description holds only data: names, and
//! which optional parts the layers have. A part that the decoder does not compute yet needs code in `decoder/` first.

mod llama;
mod qwen2;
mod qwen3;
mod qwen3_moe;

use leadspan_kernels::Pairing;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::{experts::Experts, keys::Keys},
    error::ModelError,
};

/// What distinguishes a family. Families spell out what differs from [`PLAIN`].
pub(crate) struct Description {
    /// The class of transformers that computes the family: `architectures` in `config.json`.
    pub(crate) transformers_class: &'static str,
    /// The name in a GGUF file (`general.architecture`).
    pub(crate) gguf_architecture: &'static str,
    /// Which elements of a head rotate together in GGUF files of the family.
    pub(crate) gguf_pairing: Pairing,
    /// The head width if `config.json` has no `head_dim`. `None` stands for the hidden width divided by the query heads.
    pub(crate) default_head_dim: Option<usize>,
    /// Whether query, key and value projections have biases even if `config.json` has no `attention_bias`.
    pub(crate) has_qkv_biases: bool,
    /// Whether each head of queries and keys is normalised.
    pub(crate) normalises_heads: bool,
    /// The switch that this decoder does not support, written as off to `config.json`.
    pub(crate) unsupported_switch: &'static str,
    /// How experts are described, if models of the family may have them. Such models run as teachers only.
    pub(crate) experts: Option<ExpertKeys>,
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
    gguf_architecture: "",
    gguf_pairing: Pairing::Halves,
    default_head_dim: None,
    has_qkv_biases: false,
    normalises_heads: false,
    unsupported_switch: "use_sliding_window",
    experts: None,
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
}

impl Family {
    /// The family with this `model_type`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.as_str() == name)
    }

    /// The family with this `general.architecture`.
    pub(crate) fn from_gguf_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|family| family.description().gguf_architecture == name)
    }

    /// The `name` of every family, for messages: `` `a`, `b` and `c` ``.
    pub(crate) fn list(name: fn(Self) -> &'static str) -> String {
        let names: Vec<String> = Self::ALL.iter().map(|&family| format!("`{}`", name(family))).collect();
        let (last, others) = names.split_last().expect("there are families");
        format!("{} and {last}", others.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_found_by_its_names() {
        for &family in Family::ALL {
            assert_eq!(Family::from_name(family.as_str()), Some(family));
            let description = family.description();
            assert_eq!(Family::from_gguf_name(description.gguf_architecture), Some(family));
            assert!(description.transformers_class.ends_with("ForCausalLM"));
            // Fingerprints of configurations have the serialised name.
            assert_eq!(serde_json::to_value(family).unwrap(), family.as_str());
        }
        assert_eq!(Family::from_name("mamba"), None);
        assert_eq!(
            Family::list(Family::as_str),
            "`llama`, `qwen2`, `qwen3` and `qwen3_moe`"
        );
    }
}
