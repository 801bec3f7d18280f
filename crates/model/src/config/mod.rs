//! The architecture of a decoder, independent of the file format that describes it.

pub(crate) mod experts;
pub(crate) mod json;
pub(crate) mod keys;
mod limits;
pub(crate) mod parts;
#[cfg(test)]
mod parts_tests;
pub(crate) mod quantization;
mod rotary_keys;
pub(crate) mod scaling;
#[cfg(test)]
mod tests;
mod unsupported;

use std::path::Path;

use serde::{Deserialize, Serialize};

use self::{experts::Experts, limits::LARGEST, parts::Parts, scaling::RotaryScaling};
use crate::{
    error::ModelError,
    families::{Activation, Family, NormPlacement},
};

/// The architecture of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    /// The family.
    pub family: Family,
    /// The number of tokens: rows of the embedding, and columns of the logits.
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
    /// How the rotary frequencies are scaled.
    pub rope_scaling: RotaryScaling,
    /// The context as the configuration states it; see [`context`](Self::context).
    pub max_position_embeddings: usize,
    /// Whether the head shares its weight with the embedding.
    pub tie_word_embeddings: bool,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
    /// The beginning-of-sequence token, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// The experts, if some layers have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
    /// Where the decoder differs from a plain one.
    #[serde(default, skip_serializing_if = "Parts::is_plain")]
    pub parts: Parts,
}

#[cfg(test)]
impl DecoderConfig {
    /// The smallest Llama with one head of this width.
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
            parts: Parts::default(),
        }
    }
}

impl DecoderConfig {
    /// Refuses values for which the forward pass would fail or be wrong. `path` is the file that they come from.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for the first such value.
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
        if let Some((key, found, expected)) = self.rope_scaling.problem(self.rotary_dim()) {
            return refuse(key, found, expected);
        }
        if self.context() > LARGEST {
            return refuse("factor", self.context().to_string(), "it makes the context too long");
        }
        if let Some(experts) = &self.experts
            && let Some((key, found, expected)) = experts.problem()
        {
            return refuse(key, found.to_string(), expected);
        }
        let rotary_dim = self.rotary_dim();
        if rotary_dim == 0 || rotary_dim > self.head_dim || !rotary_dim.is_multiple_of(2) {
            let expected = "it must make an even number of elements of a head rotate";
            return refuse(
                "partial_rotary_factor",
                format!("that of {rotary_dim} elements"),
                expected,
            );
        }
        if let Some((key, found, expected)) = self.parts.problem(self.num_hidden_layers) {
            return refuse(key, found, expected);
        }
        Ok(self)
    }

    /// Whether layers and head consist of the parts that GPU kernels compute: no windows, multipliers, norms after blocks or
    /// other activations.
    pub(crate) fn is_plain(&self) -> bool {
        let description = self.family.description();
        self.parts.is_plain()
            && description.norm_placement == NormPlacement::Before
            && description.activation == Activation::Silu
            && !description.normalises_all_heads
            && !description.norms_around_one
    }

    /// The number of elements of a head that rotate.
    pub(crate) fn rotary_dim(&self) -> usize {
        self.parts.rotary_dim.unwrap_or(self.head_dim)
    }

    /// The context in tokens: `max_position_embeddings`, extended by the rotary scaling.
    pub fn context(&self) -> usize {
        self.rope_scaling.context(self.max_position_embeddings)
    }
}
