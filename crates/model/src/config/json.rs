//! The architecture in `config.json`, as transformers 4 and 5 write it: read and written.

use std::path::Path;

use leadspan_files::read_regular;
use serde::de::DeserializeOwned;
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
    match parsed(&bytes).map_err(invalid)? {
        Value::Object(map) => Ok(map),
        _ => Err(invalid("it is not an object".into())),
    }
}

/// What a JSON file holds.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    refuse_mark(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Refuses a byte order mark before JSON, as transformers does.
///
/// # Errors
///
/// What is wrong, if there is one.
pub(crate) fn refuse_mark(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err("it begins with a byte order mark: save it as UTF-8 without one".to_owned());
    }
    Ok(())
}

/// The family of a model, and the keys that describe it: those in `text_config` if it is the text part of a model with images.
fn text_part(whole: Keys<'_>) -> Result<(Family, Keys<'_>), ModelError> {
    const TYPE: &str = "model_type";
    let of = |keys: Keys<'_>| keys.text(TYPE).map(str::to_owned).unwrap_or_default();
    if let Some(family) = Family::from_name(&of(whole)) {
        return Ok((family, whole));
    }
    let Some(family) = Family::of_text_part(&of(whole)) else {
        let known = Family::list(|family| Some(family.as_str()));
        let with_images = Family::list(|family| family.description().with_images);
        let expected = format!(
            "this decoder supports {known}, and the text part of {with_images}; a teacher of another family can run on vLLM or SGLang \
             (`teacher.server`)"
        );
        return Err(whole.refuse(TYPE, expected));
    };
    let text = whole.optional_object("text_config")?;
    let text = text.ok_or_else(|| whole.refuse("text_config", "it must be given"))?;
    if text.get(TYPE).is_some() && of(text) != family.as_str() {
        let expected = format!("the text part of `{}` can only be `{}`", of(whole), family.as_str());
        return Err(text.refuse(TYPE, expected));
    }
    Ok((family, text))
}

/// Positive whole numbers of a `config.json` by their keys, also of a model that this decoder does not compute: those of the text part,
/// with what the family takes for keys that are missing. Of other families, also those of the whole. `None` if it does not say them.
///
/// # Errors
///
/// If the file cannot be read or holds no object, or the value of a key is no whole number.
pub fn stated_numbers<const N: usize>(path: &Path, keys: [&str; N]) -> Result<[Option<usize>; N], ModelError> {
    let object = read_object(path)?;
    let whole = Keys::new(path, &object);
    let (family, parts) = match text_part(whole) {
        Ok((family, text)) => (Some(family), vec![text]),
        Err(_) => match whole.object("text_config") {
            Some(text) => (
                Family::from_name(text.text("model_type").unwrap_or_default()),
                vec![text, whole],
            ),
            None => (None, vec![whole]),
        },
    };
    let defaults = family.map_or(&[][..], |family| family.description().defaults.numbers);
    let mut found = [None; N];
    for (key, found) in keys.into_iter().zip(&mut found) {
        for part in &parts {
            *found = found.or(part.optional_number(key)?.filter(|&number| number > 0));
        }
        // What a key stands for if it is missing, in the part that has the model's numbers.
        *found = found.or(parts[0]
            .or_numbers(defaults)
            .optional_number(key)?
            .filter(|&number| number > 0));
    }
    Ok(found)
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
    pub(crate) fn from_keys(whole: Keys<'_>) -> Result<Self, ModelError> {
        let (family, keys) = text_part(whole)?;
        let description = family.description();
        let defaults = &description.defaults;
        let keys = keys.or_numbers(defaults.numbers);
        unsupported::refuse(keys, family)?;
        let hidden_size = keys.number("hidden_size")?;
        let num_attention_heads = keys.number("num_attention_heads")?;
        let default_head_dim = description
            .default_head_dim
            .unwrap_or(hidden_size / num_attention_heads.max(1));
        // transformers does not read the key for a family whose biases are fixed.
        // A model with images says some things outside the description of its text part.
        let saying = |key: &str| [whole, keys].into_iter().find(|keys| keys.get(key).is_some());
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
            num_key_value_heads: keys
                .optional_number("num_key_value_heads")?
                .unwrap_or(num_attention_heads),
            head_dim: keys.optional_number("head_dim")?.unwrap_or(default_head_dim),
            rms_norm_eps: keys.float("rms_norm_eps")?.unwrap_or(defaults.rms_norm_eps),
            rope_theta: rotary.theta,
            rope_scaling: rotary.scaling,
            max_position_embeddings: keys.number("max_position_embeddings")?,
            tie_word_embeddings: match saying("tie_word_embeddings") {
                Some(keys) => keys.is_on("tie_word_embeddings")?,
                None => defaults.tie_word_embeddings,
            },
            qkv_bias: attention_bias || description.has_qkv_biases,
            output_bias: attention_bias,
            bos_token_id: saying("bos_token_id")
                .unwrap_or(keys)
                .token_ids("bos_token_id")?
                .first()
                .copied(),
            eos_token_ids: saying("eos_token_id").unwrap_or(keys).token_ids("eos_token_id")?,
            experts: match &description.experts {
                Some(experts) => (experts.read)(keys)?,
                None => None,
            },
            parts: Parts::default(),
        };
        if rotary.partial != 1.0 {
            // As transformers rounds it.
            parts.rotary_dim = Some((config.head_dim as f64 * rotary.partial) as usize);
        }
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
        if let Some(rotary_dim) = self.parts.rotary_dim {
            let proportion = rotary_dim as f64 / self.head_dim as f64;
            map.insert("partial_rotary_factor".into(), json!(proportion));
        }
        if let RotaryScaling::LongRope {
            original_max_position_embeddings: original,
            ..
        } = self.rope_scaling
        {
            // transformers reads it outside the table first, where Phi-3 has a default.
            map.insert("original_max_position_embeddings".into(), json!(original));
        }
        if let RotaryScaling::Linear { .. }
        | RotaryScaling::Llama3 { .. }
        | RotaryScaling::Yarn { .. }
        | RotaryScaling::LongRope { .. } = self.rope_scaling
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_named() {
        let marked = parsed::<Value>("\u{feff}{}".as_bytes());
        assert_eq!(
            marked.unwrap_err(),
            "it begins with a byte order mark: save it as UTF-8 without one"
        );
        assert_eq!(parsed::<Value>(b"{}"), Ok(json!({})));
    }

    #[test]
    fn numbers_of_a_configuration_are_those_of_its_text_part_with_the_familys_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let of = |keys: Value| {
            std::fs::write(&path, keys.to_string()).unwrap();
            stated_numbers(&path, ["vocab_size", "max_position_embeddings"])
        };
        // Gemma 3 with 4, 12 and 27 thousand million parameters leaves them out.
        let text = json!({"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34});
        let gemma = json!({"model_type": "gemma3", "vocab_size": 7, "text_config": text});
        assert_eq!(of(gemma).unwrap(), [Some(262_208), Some(131_072)]);
        // A family that is not computed: what the text part says, then the whole, then the text part's family.
        let text = json!({"model_type": "mistral", "vocab_size": 32_064});
        let seeing =
            json!({"model_type": "mammoth", "vocab_size": 9, "max_position_embeddings": 4096, "text_config": text});
        assert_eq!(of(seeing).unwrap(), [Some(32_064), Some(4096)]);
        let text = json!({"model_type": "mistral"});
        assert_eq!(
            of(json!({"model_type": "mammoth", "text_config": text})).unwrap(),
            [Some(32_000), Some(131_072)]
        );
        assert_eq!(of(json!({"model_type": "mammoth"})).unwrap(), [None, None]);
        assert_eq!(
            of(json!({"model_type": "qwen3", "vocab_size": 0})).unwrap(),
            [None, None]
        );
        let error = of(json!({"model_type": "qwen3", "vocab_size": "many"})).unwrap_err();
        assert!(error.to_string().contains("vocab_size"), "{error}");
    }
}
