//! The architecture of a decoder, whichever way it is written down.

mod json;
mod scaling;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ModelError;

pub use scaling::RotaryScaling;
pub(crate) use scaling::yarn_attention_factor;

/// No width, count or context of a model is larger.
const LARGEST: usize = 1 << 28;

/// A family of decoders; they differ in biases and in the normalisation of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Llama and what shares its architecture, such as `SmolLM2`.
    Llama,
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen3 (dense): queries and keys are normalised per head.
    Qwen3,
    /// Qwen3 with a mixture of experts: runs as a teacher, does not learn.
    Qwen3Moe,
}

impl Family {
    const ALL: [Self; 4] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Qwen3Moe];

    /// The name in `config.json` (`model_type`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3_moe",
        }
    }

    /// The name in a GGUF file (`general.architecture`).
    pub(crate) const fn gguf_name(self) -> &'static str {
        match self {
            Self::Qwen3Moe => "qwen3moe",
            other => other.as_str(),
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == name)
    }

    pub(crate) fn from_gguf_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.gguf_name() == name)
    }

    /// Whether each head of queries and keys is normalised.
    pub(crate) const fn normalises_heads(self) -> bool {
        matches!(self, Self::Qwen3 | Self::Qwen3Moe)
    }

    const fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Qwen3Moe => "Qwen3MoeForCausalLM",
        }
    }
}

/// The mixture of experts that takes the place of the feed-forward block in some layers (Qwen3-MoE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experts {
    /// How many experts a layer has.
    pub count: usize,
    /// How many of them a token goes through.
    pub per_token: usize,
    /// Width inside one expert.
    pub intermediate_size: usize,
    /// Whether the weights of a token's experts are scaled to sum to one (`norm_topk_prob`).
    pub normalize: bool,
    /// The layers that have experts, ascending. The others are dense, `DecoderConfig::intermediate_size` wide.
    pub layers: Vec<usize>,
}

/// The architecture of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    /// Which family it belongs to.
    pub family: Family,
    /// Rows of the embedding, and columns of the logits.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key-value heads; divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How those are scaled.
    pub rope_scaling: RotaryScaling,
    /// How many positions the model knows, as it is written; see [`context`](Self::context).
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// Beginning-of-sequence token, where there is one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// The experts, where some layers have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
}

#[cfg(test)]
impl DecoderConfig {
    /// A Llama with heads of this width and no more than a kernel's test asks for.
    pub(crate) fn for_test(head_dim: usize) -> Self {
        Self {
            family: Family::Llama,
            vocab_size: 1,
            hidden_size: head_dim,
            intermediate_size: 1,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: RotaryScaling::Default,
            max_position_embeddings: 64,
            tie_word_embeddings: true,
            qkv_bias: false,
            output_bias: false,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            experts: None,
        }
    }
}

impl Experts {
    /// The key, value and rule of the first number that cannot be.
    fn problem(&self) -> Option<(&'static str, usize, &'static str)> {
        if !(1..=1 << 16).contains(&self.count) {
            return Some((
                "num_experts",
                self.count,
                "it must be a positive number of a sensible size",
            ));
        }
        if !(1..=self.count).contains(&self.per_token) {
            let expected = "it must be from 1 to the number of experts";
            return Some(("num_experts_per_tok", self.per_token, expected));
        }
        let expected = "it must be a positive number of a sensible size";
        (!(1..=LARGEST).contains(&self.intermediate_size)).then_some((
            "moe_intermediate_size",
            self.intermediate_size,
            expected,
        ))
    }
}

impl DecoderConfig {
    /// Refuses what the forward pass would compute wrongly or fail on.
    pub(crate) fn checked(self, path: &Path) -> Result<Self, ModelError> {
        let refuse = |key: &str, found: String, expected: &str| {
            Err(ModelError::Config {
                path: path.to_owned(),
                key: key.into(),
                found,
                expected: expected.into(),
            })
        };
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 || value > LARGEST {
                return refuse(
                    key,
                    value.to_string(),
                    "it must be a positive number of a sensible size",
                );
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let expected = "it must divide `num_attention_heads`";
            return refuse("num_key_value_heads", self.num_key_value_heads.to_string(), expected);
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) || self.head_dim > 1 << 16 {
            return refuse(
                "head_dim",
                self.head_dim.to_string(),
                "it must be a positive even number",
            );
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return refuse(
                "rope_theta",
                self.rope_theta.to_string(),
                "it must be a positive number",
            );
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return refuse(
                "rms_norm_eps",
                self.rms_norm_eps.to_string(),
                "it must be a small positive number",
            );
        }
        if let Some((key, found, expected)) = self.rope_scaling.problem(self.head_dim) {
            return refuse(key, found, expected);
        }
        if self.context() > LARGEST {
            return refuse("factor", self.context().to_string(), "it reaches too far");
        }
        if let Some(experts) = &self.experts
            && let Some((key, found, expected)) = experts.problem()
        {
            return refuse(key, found.to_string(), expected);
        }
        Ok(self)
    }

    /// How many positions the model knows: the written number, or as far as its rotary scaling stretches it.
    pub fn context(&self) -> usize {
        self.rope_scaling.context(self.max_position_embeddings)
    }
}
