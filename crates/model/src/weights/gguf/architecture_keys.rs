//! The keys of a GGUF file's metadata that describe its architecture, and the refusal of those that are not understood.

use super::{
    file::GgufFile,
    names::{expert_of, stored_name},
};
use crate::{
    config::{DecoderConfig, keys::UNSUPPORTED},
    error::ModelError,
    families::{Family, NormPlacement},
};

/// The metadata whose keys begin with the name of the architecture.
#[derive(Clone, Copy)]
pub(super) struct ArchitectureKeys<'a> {
    pub(super) file: &'a GgufFile,
    pub(super) architecture: &'a str,
    pub(super) family: Family,
}

/// The keys of attention that this decoder reads or that change nothing. Others may change what attention computes.
const ATTENTION: [&str; 8] = [
    "causal",
    "head_count",
    "head_count_kv",
    "key_length",
    "layer_norm_epsilon",
    "layer_norm_rms_epsilon",
    "sliding_window",
    "value_length",
];

/// Numbers of other architectures, and the values at which they change nothing.
const NEUTRAL: [(&str, &[f64]); 17] = [
    ("attn_logit_softcapping", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("expert_gating_func", &[0.0, 1.0]),
    ("expert_group_count", &[0.0, 1.0]),
    ("expert_group_used_count", &[0.0, 1.0]),
    ("expert_shared_count", &[0.0]),
    ("expert_shared_feed_forward_length", &[0.0]),
    ("expert_weights_scale", &[0.0, 1.0]),
    ("final_logit_softcapping", &[0.0]),
    ("leading_dense_block_count", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("n_deepstack_layers", &[0.0]),
    ("nextn_predict_layers", &[0.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("router_logit_softcapping", &[0.0]),
    ("swiglu_clamp_exp", &[0.0]),
    ("swiglu_clamp_shexp", &[0.0]),
];

/// Numbers of mixtures, which are read in families that have experts and change nothing at zero in others.
const OF_EXPERTS: [&str; 3] = ["expert_count", "expert_feed_forward_length", "expert_used_count"];

/// Switches, and the only position that is supported.
const SWITCHES: [(&str, bool); 2] = [("use_parallel_residual", false), ("expert_weights_norm", true)];

/// The other keys outside `attention.` and `rope.` that may be there. Four are read. `vocab_size` repeats what the embedding shows,
/// `tensor_data_layout` names the order of rows that all converters write, and `pooling_type` says how a whole text becomes one vector.
const KNOWN: [&str; 7] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "pooling_type",
    "tensor_data_layout",
    "vocab_size",
];

/// The beginnings of keys that are looked at elsewhere, and of those that describe the part of a model that sees images. If the file has
/// that part, its tensors are refused.
const GROUPS: [&str; 4] = ["attention.", "mm.", "rope.", "vision."];

impl<'a> ArchitectureKeys<'a> {
    pub(super) fn key(self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    /// The error for the value of a key, which is not as `expected`.
    pub(super) fn refuse(self, suffix: &str, expected: &str) -> ModelError {
        let key = self.key(suffix);
        let found = self.file.shown(&key);
        self.file.refuse(key, &found, expected)
    }

    /// The whole number of a key.
    ///
    /// # Errors
    ///
    /// If it is missing or no whole number.
    pub(super) fn number(self, suffix: &str) -> Result<usize, ModelError> {
        let missing = || self.refuse(suffix, "it must be given as a whole number");
        self.optional_number(suffix)?.ok_or_else(missing)
    }

    /// The whole number of a key; `None` if the metadata does not have the key.
    ///
    /// # Errors
    ///
    /// If the value is no whole number, or the layers have different ones.
    pub(super) fn optional_number(self, suffix: &str) -> Result<Option<usize>, ModelError> {
        let key = self.key(suffix);
        match self.file.shared_number(&key) {
            Some(value) => Ok(Some(value as usize)),
            None if self.file.has_key(&key) => {
                Err(self.refuse(suffix, "it must be a whole number, the same for all layers"))
            }
            None => Ok(None),
        }
    }

    /// The number of a key; `None` if the metadata does not have the key.
    ///
    /// # Errors
    ///
    /// If the value is no number.
    pub(super) fn float(self, suffix: &str) -> Result<Option<f64>, ModelError> {
        let key = self.key(suffix);
        match self.file.float(&key) {
            None if self.file.has_key(&key) => Err(self.refuse(suffix, "it must be a number")),
            value => Ok(value),
        }
    }

    /// The text of a key; `None` if the metadata does not have the key.
    ///
    /// # Errors
    ///
    /// If the value is no text.
    pub(super) fn text(self, suffix: &str) -> Result<Option<&'a str>, ModelError> {
        let key = self.key(suffix);
        match self.file.text(&key) {
            None if self.file.has_key(&key) => Err(self.refuse(suffix, "it must be a text")),
            value => Ok(value),
        }
    }

    /// The keys that begin with `prefix` after the name of the architecture, without it, ordered.
    pub(super) fn below(self, prefix: &str) -> Vec<&'a str> {
        let prefix = self.key(prefix);
        let mut found: Vec<&str> = self.file.keys().filter_map(|key| key.strip_prefix(&prefix)).collect();
        found.sort_unstable();
        found
    }

    /// Refuses a key outside `attention.` and `rope.` that is not known. `of_family` are keys that the family reads.
    fn refuse_other(self, of_family: &[&str]) -> Result<(), ModelError> {
        let has_experts = self.family.description().experts.is_some();
        for suffix in OF_EXPERTS.into_iter().filter(|_| !has_experts) {
            if self.optional_number(suffix)?.is_some_and(|number| number != 0) {
                return Err(self.refuse(suffix, "the family has no experts here"));
            }
        }
        let is_known = |suffix: &&str| {
            GROUPS.iter().any(|group| suffix.starts_with(group))
                || [KNOWN.as_slice(), &OF_EXPERTS, of_family]
                    .iter()
                    .any(|keys| keys.contains(suffix))
                || NEUTRAL.iter().any(|(key, _)| key == suffix)
                || SWITCHES.iter().any(|(key, _)| key == suffix)
        };
        match self.below("").into_iter().find(|suffix| !is_known(suffix)) {
            None => Ok(()),
            Some(other) => {
                let expected = format!("the key is unknown and may change what the model computes: {UNSUPPORTED}");
                Err(self.refuse(other, &expected))
            }
        }
    }

    /// Refuses keys and tensors that ask for something that the decoder of `config` does not compute.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for the first such key, [`ModelError::UnknownWeight`] for the first such tensor.
    pub(super) fn refuse_unknown(self, config: &DecoderConfig) -> Result<(), ModelError> {
        let known = self.family.description().gguf_part_keys;
        let attention = self.below("attention.").into_iter();
        let mut others = attention
            .filter(|key| !ATTENTION.contains(key))
            .map(|key| format!("attention.{key}"));
        if let Some(other) = others.find(|key| !known.contains(&key.as_str())) {
            return Err(self.refuse(&other, UNSUPPORTED));
        }
        if self.file.switch(&self.key("attention.causal")) == Some(false) {
            return Err(self.refuse("attention.causal", "only causal attention is supported"));
        }
        let window = self.optional_number("attention.sliding_window")?.unwrap_or(0);
        if (1..config.max_position_embeddings).contains(&window) && !known.contains(&"attention.sliding_window") {
            return Err(self.refuse("attention.sliding_window", "sliding windows are not supported"));
        }
        for suffix in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
            if self
                .optional_number(suffix)?
                .is_some_and(|width| width != config.head_dim)
            {
                return Err(self.refuse(suffix, "it must be the width of a head, of which all is rotated"));
            }
        }
        for (suffix, neutral) in NEUTRAL.into_iter().filter(|(suffix, _)| !known.contains(suffix)) {
            if self.float(suffix)?.is_some_and(|value| !neutral.contains(&value)) {
                return Err(self.refuse(suffix, UNSUPPORTED));
            }
        }
        for (suffix, supported) in SWITCHES {
            let key = self.key(suffix);
            if self.file.has_key(&key) && self.file.switch(&key) != Some(supported) {
                return Err(self.refuse(suffix, UNSUPPORTED));
            }
        }
        self.refuse_other(known)?;
        match self.file.tensor_names().find(|name| !is_asked_for(name, config)) {
            None => Ok(()),
            Some(name) => Err(ModelError::UnknownWeight {
                path: self.file.path_of(name).to_owned(),
                name: name.to_owned(),
            }),
        }
    }
}

/// The products of a layer of linear attention.
const LINEAR: [&str; 5] = [
    "in_proj_a.weight",
    "in_proj_b.weight",
    "in_proj_qkv.weight",
    "in_proj_z.weight",
    "out_proj.weight",
];

/// Whether a decoder of `config` reads a weight of this Hugging Face name.
pub(in crate::weights) fn reads(name: &str, config: &DecoderConfig) -> bool {
    let stored = match (expert_of(name), &config.experts) {
        (Some((whole, index)), Some(experts)) if index < experts.count => stored_name(&whole, config.family),
        (Some(_), _) => return false,
        (None, _) => stored_name(name, config.family),
    };
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let part = layer.map_or(name, |(_, part)| part);
    if let Some(index) = layer.and_then(|(index, _)| index.parse().ok()) {
        let is_linear = config.parts.layer(index).is_linear;
        // No GGUF file has these.
        if let Some(projection) = part.strip_prefix("linear_attn.") {
            return is_linear && index < config.num_hidden_layers && LINEAR.contains(&projection);
        }
        if is_linear && part.starts_with("self_attn.") {
            return false;
        }
    }
    // A name that GGUF has as it stands is none of Hugging Face.
    stored_name(part, config.family) != part && is_asked_for(&stored, config)
}

/// Whether a decoder of `config` reads a tensor of this name.
fn is_asked_for(name: &str, config: &DecoderConfig) -> bool {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let Some((index, part)) = layer else {
        return match name {
            "token_embd.weight" | "output_norm.weight" | "rope_freqs.weight" => true,
            "output.weight" => !config.tie_word_embeddings,
            _ => false,
        };
    };
    let Ok(index) = index.parse::<usize>() else {
        return false;
    };
    let has_experts = config
        .experts
        .as_ref()
        .is_some_and(|experts| experts.layers.contains(&index));
    let description = config.family.description();
    let (placement, is_joined) = (description.norm_placement, description.stores_joined_weights);
    index < config.num_hidden_layers
        && match part {
            "attn_norm.weight" | "ffn_norm.weight" => placement != NormPlacement::After,
            "post_attention_norm.weight" | "post_ffw_norm.weight" => placement != NormPlacement::Before,
            "attn_q.weight" | "attn_k.weight" | "attn_v.weight" => !is_joined,
            "attn_qkv.weight" => is_joined,
            "attn_output.weight" => true,
            "attn_q.bias" | "attn_k.bias" | "attn_v.bias" => config.qkv_bias,
            "attn_output.bias" => config.output_bias,
            "attn_q_norm.weight" | "attn_k_norm.weight" => {
                description.normalises_heads || description.normalises_all_heads
            }
            "ffn_gate.weight" => !has_experts && !is_joined,
            "ffn_up.weight" | "ffn_down.weight" => !has_experts,
            "ffn_gate_inp.weight" | "ffn_gate_exps.weight" | "ffn_up_exps.weight" | "ffn_down_exps.weight" => {
                has_experts
            }
            _ => false,
        }
}
