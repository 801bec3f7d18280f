//! The architecture in `config.json`, as transformers 4 and 5 write it: read and written.

use std::path::Path;

use leadspan_files::read_regular;
use serde_json::{Map, Value, json};

use super::{DecoderConfig, keys::Keys, parts::Parts, rotary_keys, scaling::RotaryScaling, unsupported};
use crate::{error::ModelError, families::Family};

/// The most bytes of a configuration or an index of weights. The index of a model of 670 thousand million parameters has 9 MB.
pub(crate) const MOST_JSON_BYTES: u64 = 64 << 20;

/// The keys and values in a JSON file.
///
/// # Errors
///
/// If the file cannot be read, has more than [`MOST_JSON_BYTES`], or holds no object.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let bytes = read_regular(path, MOST_JSON_BYTES).map_err(|source| ModelError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let invalid = |reason: String| ModelError::InvalidJson {
        path: path.to_owned(),
        reason,
    };
    match serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))? {
        Value::Object(map) => Ok(map),
        _ => Err(invalid("it is not an object".into())),
    }
}

impl DecoderConfig {
    /// Reads `config.json` as transformers 4 and 5 write it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, lacks a key, or describes something that this decoder does not compute.
    pub fn from_json_file(path: &Path) -> Result<Self, ModelError> {
        Self::from_keys(Keys::new(path, &read_object(path)?))
    }

    /// The architecture that the keys of a `config.json` describe.
    ///
    /// # Errors
    ///
    /// As [`from_json_file`](Self::from_json_file).
    pub(crate) fn from_keys(keys: Keys<'_>) -> Result<Self, ModelError> {
        let Some(family) = Family::from_name(keys.text("model_type").unwrap_or_default()) else {
            let known = Family::list(|family| Some(family.as_str()));
            let expected = format!("this decoder supports {known}");
            return Err(keys.refuse("model_type", expected));
        };
        unsupported::refuse(keys, family)?;
        let description = family.description();
        let defaults = &description.defaults;
        let hidden_size = keys.number("hidden_size")?;
        let num_attention_heads = keys.number("num_attention_heads")?;
        let default_head_dim = description
            .default_head_dim
            .unwrap_or(hidden_size / num_attention_heads.max(1));
        // transformers does not read the key for a family whose biases are fixed.
        let attention_bias = keys.is_on("attention_bias")? && description.reads_attention_bias;
        let rotary = rotary_keys::read(keys, defaults)?;
        let mut parts = match &description.parts {
            Some(parts) => (parts.read)(keys)?,
            None => Parts::default(),
        };
        parts.local_rope_theta = rotary.local_theta;
        let mut config = Self {
            family,
            vocab_size: keys.number("vocab_size")?,
            hidden_size,
            intermediate_size: keys.number("intermediate_size")?,
            num_hidden_layers: keys.number("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: match keys.optional_number("num_key_value_heads")? {
                Some(heads) => heads,
                None if defaults.has_fixed_key_value_heads => {
                    return Err(keys.refuse("num_key_value_heads", "it must be given"));
                }
                None => num_attention_heads,
            },
            head_dim: keys.optional_number("head_dim")?.unwrap_or(default_head_dim),
            rms_norm_eps: keys.float("rms_norm_eps")?.unwrap_or(defaults.rms_norm_eps),
            rope_theta: rotary.theta,
            rope_scaling: rotary.scaling,
            max_position_embeddings: keys.number("max_position_embeddings")?,
            tie_word_embeddings: match keys.get("tie_word_embeddings") {
                Some(_) => keys.is_on("tie_word_embeddings")?,
                None => defaults.tie_word_embeddings,
            },
            qkv_bias: attention_bias || description.has_qkv_biases,
            output_bias: attention_bias,
            bos_token_id: keys.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: keys.token_ids("eos_token_id")?,
            experts: match &description.experts {
                Some(experts) => (experts.read)(keys)?,
                None => None,
            },
            parts: Parts::default(),
        };
        config.parts = parts.tidied(config.context());
        config.checked(keys.path())
    }

    /// The `config.json` of this architecture, readable by transformers 4 and 5.
    pub fn to_json(&self) -> Value {
        let description = self.family.description();
        let mut config = json!({
            "architectures": [description.transformers_class],
            "model_type": self.family.as_str(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": description.activation.as_str(),
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": self.qkv_bias && description.reads_attention_bias,
            "use_cache": true,
            "torch_dtype": "float32",
        });
        let map = config.as_object_mut().expect("built as an object above");
        map.insert(description.unsupported_switch.into(), json!(false));
        if let (Some(keys), Some(experts)) = (&description.experts, &self.experts) {
            map.extend((keys.write)(experts, self.num_hidden_layers));
        }
        if let Some(keys) = &description.parts {
            map.extend((keys.write)(&self.parts, self.num_hidden_layers, self.context()));
        }
        if let RotaryScaling::Linear { .. } | RotaryScaling::Llama3 { .. } | RotaryScaling::Yarn { .. } =
            self.rope_scaling
        {
            let scaling = serde_json::to_value(&self.rope_scaling).expect("numbers serialize");
            map.insert("rope_scaling".into(), scaling);
        }
        if let Some(bos) = self.bos_token_id {
            map.insert("bos_token_id".into(), json!(bos));
        }
        match self.eos_token_ids.as_slice() {
            [] => {}
            [one] => drop(map.insert("eos_token_id".into(), json!(one))),
            several => drop(map.insert("eos_token_id".into(), json!(several))),
        }
        config
    }
}
