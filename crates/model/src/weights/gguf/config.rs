//! The architecture of a model, from the metadata of its GGUF file.

use super::{architecture_keys::ArchitectureKeys, file::GgufFile, names::stored_name};
use crate::{
    config::{DecoderConfig, experts::Experts, parts::Parts},
    error::ModelError,
    families::Family,
};

impl GgufFile {
    /// The architecture.
    ///
    /// # Errors
    ///
    /// If the metadata lacks a key, or metadata or tensors describe something that this decoder does not compute.
    pub(crate) fn config(&self) -> Result<DecoderConfig, ModelError> {
        let architecture = self.text("general.architecture").unwrap_or_default();
        let Some(family) = Family::from_gguf_name(architecture) else {
            let known = Family::list(|family| family.description().gguf_architecture);
            let expected = format!(
                "of GGUF files this decoder supports {known}; other models are read as safetensors, or a \
                 teacher runs on vLLM or SGLang (`teacher.server`)"
            );
            return Err(self.refuse("general.architecture".into(), architecture, &expected));
        };
        let keys = ArchitectureKeys {
            file: self,
            architecture,
            family,
        };
        let hidden_size = keys.number("embedding_length")?;
        let num_attention_heads = keys.number("attention.head_count")?;
        let context = keys.number("context_length")?;
        let Some(embedding) = self.tensor_info("token_embd.weight") else {
            return Err(ModelError::MissingWeight {
                path: self.path().to_owned(),
                name: "token_embd.weight".into(),
            });
        };
        let intermediate_size = match keys.optional_number("feed_forward_length")? {
            Some(width) => width,
            // A mixture without dense layers may leave the first key out.
            None => keys.number("expert_feed_forward_length")?,
        };
        let mut config = DecoderConfig {
            family,
            experts: experts(keys, family)?,
            vocab_size: embedding.shape.dims().first().copied().unwrap_or(0),
            hidden_size,
            intermediate_size,
            num_hidden_layers: keys.number("block_count")?,
            num_attention_heads,
            num_key_value_heads: keys
                .optional_number("attention.head_count_kv")?
                .unwrap_or(num_attention_heads),
            head_dim: keys
                .optional_number("attention.key_length")?
                .unwrap_or(hidden_size / num_attention_heads.max(1)),
            rms_norm_eps: keys.float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope_theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
            rope_scaling: keys.rope_scaling(context)?,
            max_position_embeddings: context,
            tie_word_embeddings: !self.has_tensor("output.weight"),
            qkv_bias: self.has_tensor("blk.0.attn_q.bias"),
            output_bias: self.has_tensor("blk.0.attn_output.bias"),
            bos_token_id: self.number("tokenizer.ggml.bos_token_id").map(|id| id as u32),
            eos_token_ids: self
                .number("tokenizer.ggml.eos_token_id")
                .map(|id| id as u32)
                .into_iter()
                .collect(),
            parts: Parts::default(),
        };
        config.parts = keys.parts(&config)?.tidied(config.context());
        let config = config.checked(self.path())?;
        keys.refuse_unknown(&config)?;
        Ok(config)
    }
}

/// The experts of a mixture. A layer has experts if the file has a router for it.
fn experts(keys: ArchitectureKeys<'_>, family: Family) -> Result<Option<Experts>, ModelError> {
    let Some(description) = &family.description().experts else {
        return Ok(None);
    };
    let has_experts = |layer: &usize| {
        let router = stored_name(&format!("model.layers.{layer}.mlp.gate.weight"), family);
        keys.file.has_tensor(&router)
    };
    // No more layers than there are tensors, however many the header claims.
    let layers = keys.number("block_count")?.min(keys.file.tensor_count());
    Ok(Some(Experts {
        count: keys.number("expert_count")?,
        per_token: keys.number("expert_used_count")?,
        intermediate_size: keys.number("expert_feed_forward_length")?,
        normalize: description.normalize_in_gguf,
        layers: (0..layers).filter(has_experts).collect(),
    }))
}
