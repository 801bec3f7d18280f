//! The architecture of a model, from the metadata of its GGUF file.

use candle_core::Device;

use super::{file::GgufFile, names::stored_name};
use crate::{
    config::{
        DecoderConfig,
        experts::Experts,
        scaling::{RotaryScaling, yarn_attention_factor},
    },
    error::ModelError,
    families::Family,
};

/// The tensor of rotary divisors.
const DIVISORS: &str = "rope_freqs.weight";

impl GgufFile {
    /// The architecture.
    ///
    /// # Errors
    ///
    /// If the metadata lacks a key or describes something that this decoder does not compute.
    pub(crate) fn config(&self) -> Result<DecoderConfig, ModelError> {
        let architecture = self.text("general.architecture").unwrap_or_default();
        let Some(family) = Family::from_gguf_name(architecture) else {
            let known = Family::list(|family| family.description().gguf_architecture);
            let expected = format!("this decoder supports {known}");
            return Err(self.refuse("general.architecture".into(), architecture, &expected));
        };
        let metadata = ArchitectureKeys {
            file: self,
            architecture,
        };
        let number = |suffix: &str| metadata.number(suffix);
        let hidden_size = number("embedding_length")?;
        let num_attention_heads = number("attention.head_count")?;
        let Some(embedding) = self.tensor_info("token_embd.weight") else {
            return Err(ModelError::MissingWeight {
                path: self.path().to_owned(),
                name: "token_embd.weight".into(),
            });
        };
        DecoderConfig {
            family,
            experts: metadata.experts(family)?,
            vocab_size: embedding.shape.dims().first().copied().unwrap_or(0),
            hidden_size,
            // A mixture without dense layers may leave the first key out.
            intermediate_size: number("feed_forward_length").or_else(|_| number("expert_feed_forward_length"))?,
            num_hidden_layers: number("block_count")?,
            num_attention_heads,
            num_key_value_heads: number("attention.head_count_kv").unwrap_or(num_attention_heads),
            head_dim: number("attention.key_length").unwrap_or(hidden_size / num_attention_heads.max(1)),
            rms_norm_eps: metadata.float("attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
            rope_theta: metadata.float("rope.freq_base").unwrap_or(10_000.0),
            rope_scaling: metadata.rope_scaling(number("context_length")?)?,
            max_position_embeddings: number("context_length")?,
            tie_word_embeddings: !self.has_tensor("output.weight"),
            qkv_bias: self.has_tensor("blk.0.attn_q.bias"),
            output_bias: self.has_tensor("blk.0.attn_output.bias"),
            bos_token_id: self.number("tokenizer.ggml.bos_token_id").map(|id| id as u32),
            eos_token_ids: self
                .number("tokenizer.ggml.eos_token_id")
                .map(|id| id as u32)
                .into_iter()
                .collect(),
        }
        .checked(self.path())
    }

    fn refuse(&self, key: String, found: &str, expected: &str) -> ModelError {
        ModelError::Config {
            path: self.path().to_owned(),
            key,
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

/// The metadata whose keys begin with the name of the architecture.
struct ArchitectureKeys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl ArchitectureKeys<'_> {
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    fn number(&self, suffix: &str) -> Result<usize, ModelError> {
        let key = self.key(suffix);
        match self.file.number(&key) {
            Some(value) => Ok(value as usize),
            None => Err(self.file.refuse(key, "missing", "it must be given as a whole number")),
        }
    }

    fn float(&self, suffix: &str) -> Option<f64> {
        self.file.float(&self.key(suffix))
    }

    fn rope_scaling(&self, context: usize) -> Result<RotaryScaling, ModelError> {
        match self.file.text(&self.key("rope.scaling.type")) {
            None | Some("none") if self.file.has_tensor(DIVISORS) => {
                let divisors = self.file.tensor(DIVISORS, &Device::Cpu)?;
                let divisors = divisors.dequantize(&Device::Cpu)?.flatten_all()?;
                Ok(RotaryScaling::Divisors {
                    divisors: divisors.to_vec1()?,
                })
            }
            None | Some("none") => Ok(RotaryScaling::Default),
            Some("yarn") => self.yarn(context),
            Some(other) => {
                let key = self.key("rope.scaling.type");
                Err(self.file.refuse(key, other, "only `none` and `yarn` are supported"))
            }
        }
    }

    fn yarn(&self, context: usize) -> Result<RotaryScaling, ModelError> {
        let prefix = self.key("rope.scaling.");
        let known = ["type", "factor", "original_context_length", "finetuned"];
        let mut suffixes: Vec<&str> = self.file.keys().filter_map(|key| key.strip_prefix(&prefix)).collect();
        suffixes.sort_unstable();
        if let Some(other) = suffixes.into_iter().find(|suffix| !known.contains(suffix)) {
            let expected = "`yarn` is only supported with its usual parameters";
            return Err(self.file.refuse(format!("{prefix}{other}"), "set", expected));
        }
        let Some(factor) = self.float("rope.scaling.factor") else {
            let key = self.key("rope.scaling.factor");
            return Err(self.file.refuse(key, "missing", "`yarn` needs it as a number"));
        };
        let original = self.file.number(&self.key("rope.scaling.original_context_length"));
        Ok(RotaryScaling::Yarn {
            factor,
            original_max_position_embeddings: original.map_or(context, |original| original as usize),
            attention_factor: yarn_attention_factor(factor),
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
        })
    }

    /// The experts of a mixture. A layer has experts if the file has a router for it.
    fn experts(&self, family: Family) -> Result<Option<Experts>, ModelError> {
        let Some(description) = &family.description().experts else {
            return Ok(None);
        };
        let has_experts = |layer: &usize| {
            let router = stored_name(&format!("model.layers.{layer}.mlp.gate.weight"));
            self.file.has_tensor(&router)
        };
        // No more layers than there are tensors, however many the header claims.
        let layers = self.number("block_count")?.min(self.file.tensor_count());
        Ok(Some(Experts {
            count: self.number("expert_count")?,
            per_token: self.number("expert_used_count")?,
            intermediate_size: self.number("expert_feed_forward_length")?,
            normalize: description.normalize_in_gguf,
            layers: (0..layers).filter(has_experts).collect(),
        }))
    }
}
