//! The architecture of a decoder, read from `config.json` or GGUF metadata and written back as `config.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::ModelError;

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
}

impl Family {
    /// The name in `config.json` (`model_type`) and in GGUF (`general.architecture`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Llama, Self::Qwen2, Self::Qwen3]
            .into_iter()
            .find(|family| family.as_str() == name)
    }

    const fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// How rotary frequencies are changed for contexts longer than those of pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "rope_type")]
pub enum RotaryScaling {
    /// Not at all.
    Default,
    /// Llama 3.1's: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// How much long wavelengths are stretched.
        factor: f64,
        /// Wavelengths above context / this are stretched fully.
        low_freq_factor: f64,
        /// Wavelengths below context / this are kept.
        high_freq_factor: f64,
        /// The context of pre-training.
        original_max_position_embeddings: usize,
    },
    /// One divisor for each frequency, as GGUF stores it in `rope_freqs.weight`.
    Divisors {
        /// `head_dim / 2` divisors.
        divisors: Vec<f32>,
    },
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
    /// How many positions the model knows.
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
        }
    }
}

impl DecoderConfig {
    /// Reads `config.json` as transformers 4 and 5 write it.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, lacks a key, or describes something this decoder does not compute.
    pub fn from_json_file(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|source| ModelError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let value: Value = serde_json::from_str(&text).map_err(|error| ModelError::InvalidJson {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let Value::Object(map) = value else {
            return Err(ModelError::InvalidJson {
                path: path.to_owned(),
                reason: "it is not an object".into(),
            });
        };
        Keys { path, map: &map }.config()
    }

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
            if value == 0 || value > 1 << 28 {
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
        Ok(self)
    }

    /// The `config.json` of this architecture, readable by transformers 4 and 5.
    pub fn to_json(&self) -> Value {
        let mut config = json!({
            "architectures": [self.family.architecture()],
            "model_type": self.family.as_str(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": self.qkv_bias && self.family != Family::Qwen2,
            "use_cache": true,
            "torch_dtype": "float32",
        });
        let map = config.as_object_mut().expect("built as an object above");
        if self.family == Family::Llama {
            map.insert("mlp_bias".into(), json!(false));
        } else {
            map.insert("use_sliding_window".into(), json!(false));
        }
        if let RotaryScaling::Llama3 { .. } = self.rope_scaling {
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

/// A `config.json` being read: every lookup knows the file it speaks of.
struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn config(&self) -> Result<DecoderConfig, ModelError> {
        let model_type = self.map.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let Some(family) = Family::from_name(model_type) else {
            return Err(self.refuse("model_type", "this decoder knows `llama`, `qwen2` and `qwen3`"));
        };
        for (key, allowed) in [("mlp_bias", false), ("use_sliding_window", false)] {
            if self.map.get(key).and_then(Value::as_bool).unwrap_or(allowed) != allowed {
                return Err(self.refuse(key, "that is not supported"));
            }
        }
        if !matches!(self.map.get("hidden_act").and_then(Value::as_str), None | Some("silu")) {
            return Err(self.refuse("hidden_act", "only `silu` is supported"));
        }
        let hidden_size = self.number("hidden_size")?;
        let num_attention_heads = self.number("num_attention_heads")?;
        let attention_bias = self.map.get("attention_bias").and_then(Value::as_bool).unwrap_or(false);
        DecoderConfig {
            family,
            vocab_size: self.number("vocab_size")?,
            hidden_size,
            intermediate_size: self.number("intermediate_size")?,
            num_hidden_layers: self.number("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: self
                .optional_number("num_key_value_heads")?
                .unwrap_or(num_attention_heads),
            head_dim: match self.optional_number("head_dim")? {
                Some(head_dim) => head_dim,
                None if family == Family::Qwen3 => 128,
                None => hidden_size / num_attention_heads.max(1),
            },
            rms_norm_eps: self.float(self.map, "rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta: self.rope_theta()?,
            rope_scaling: self.rope_scaling()?,
            max_position_embeddings: self.number("max_position_embeddings")?,
            tie_word_embeddings: self
                .map
                .get("tie_word_embeddings")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            qkv_bias: attention_bias || family == Family::Qwen2,
            output_bias: attention_bias,
            bos_token_id: self.map.get("bos_token_id").and_then(Value::as_u64).map(|id| id as u32),
            eos_token_ids: token_ids(self.map.get("eos_token_id")),
        }
        .checked(self.path)
    }

    fn refuse(&self, key: &str, expected: &str) -> ModelError {
        let found = self.map.get(key).map_or_else(|| "missing".to_owned(), display);
        ModelError::Config {
            path: self.path.to_owned(),
            key: key.into(),
            found,
            expected: expected.into(),
        }
    }

    fn optional_number(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number as usize)),
                None => Err(self.refuse(key, "it must be a whole number")),
            },
        }
    }

    fn number(&self, key: &str) -> Result<usize, ModelError> {
        self.optional_number(key)?
            .ok_or_else(|| self.refuse(key, "it must be given"))
    }

    fn float(&self, map: &Map<String, Value>, key: &str) -> Result<Option<f64>, ModelError> {
        match map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| ModelError::Config {
                path: self.path.to_owned(),
                key: key.into(),
                found: display(value),
                expected: "it must be a number".into(),
            }),
        }
    }

    /// transformers 5 writes everything rotary into `rope_parameters`; 4 wrote `rope_theta` beside `rope_scaling`.
    fn rope_table(&self) -> Option<&Map<String, Value>> {
        let table = |key| self.map.get(key).and_then(Value::as_object);
        table("rope_parameters").or_else(|| table("rope_scaling"))
    }

    fn rope_theta(&self) -> Result<f64, ModelError> {
        let nested = match self.rope_table() {
            Some(table) => self.float(table, "rope_theta")?,
            None => None,
        };
        Ok(match nested {
            Some(theta) => theta,
            None => self.float(self.map, "rope_theta")?.unwrap_or(10_000.0),
        })
    }

    fn rope_scaling(&self) -> Result<RotaryScaling, ModelError> {
        let Some(table) = self.rope_table() else {
            return Ok(RotaryScaling::Default);
        };
        let kind = table
            .get("rope_type")
            .or_else(|| table.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default");
        let required = |key: &str| {
            self.float(table, key)?
                .filter(|value| *value > 0.0)
                .ok_or_else(|| ModelError::Config {
                    path: self.path.to_owned(),
                    key: key.into(),
                    found: table.get(key).map_or_else(|| "missing".to_owned(), display),
                    expected: "rotary scaling `llama3` needs it as a positive number".into(),
                })
        };
        match kind {
            "default" => Ok(RotaryScaling::Default),
            "llama3" => Ok(RotaryScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor: required("low_freq_factor")?,
                high_freq_factor: required("high_freq_factor")?,
                original_max_position_embeddings: required("original_max_position_embeddings")? as usize,
            }),
            other => Err(ModelError::Config {
                path: self.path.to_owned(),
                key: "rope_type".into(),
                found: other.to_owned(),
                expected: "this decoder knows `default` and `llama3`".into(),
            }),
        }
    }
}

/// A JSON value as it would be quoted in a message.
fn display(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One token id or a list of them, as `eos_token_id` may be.
fn token_ids(value: Option<&Value>) -> Vec<u32> {
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
        Some(id) => id.as_u64().map(|id| id as u32).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<DecoderConfig, ModelError> {
        Keys {
            path: Path::new("config.json"),
            map: value.as_object().unwrap(),
        }
        .config()
    }

    fn smollm() -> Value {
        json!({
            "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
            "rope_theta": 100_000, "max_position_embeddings": 8192, "tie_word_embeddings": true,
            "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "rope_scaling": null
        })
    }

    #[test]
    fn both_generations_of_rotary_keys_are_read() {
        let old = read(&smollm()).unwrap();
        assert_eq!((old.head_dim, old.rope_theta), (64, 100_000.0));
        let mut new = smollm();
        new.as_object_mut().unwrap().remove("rope_theta");
        new["rope_parameters"] = json!({"rope_theta": 100_000.0, "rope_type": "default"});
        assert_eq!(read(&new).unwrap(), old);
        new["rope_parameters"] = json!({
            "rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192
        });
        let scaled = read(&new).unwrap();
        assert!(matches!(
            scaled.rope_scaling,
            RotaryScaling::Llama3 {
                original_max_position_embeddings: 8192,
                ..
            }
        ));
        new["rope_parameters"]["rope_type"] = json!("yarn");
        assert!(read(&new).unwrap_err().to_string().contains("`rope_type` is `yarn`"));
    }

    #[test]
    fn a_written_config_reads_back_the_same() {
        let mut value = smollm();
        value["eos_token_id"] = json!([2, 7]);
        value["rope_scaling"] = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192
        });
        for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
            value["model_type"] = json!(family.as_str());
            let config = read(&value).unwrap();
            assert_eq!(read(&config.to_json()).unwrap(), config);
        }
    }

    #[test]
    fn what_the_forward_cannot_compute_is_refused_by_name() {
        for (key, bad) in [
            ("model_type", json!("mamba")),
            ("hidden_act", json!("gelu")),
            ("mlp_bias", json!(true)),
            ("use_sliding_window", json!(true)),
            ("num_key_value_heads", json!(4)),
            ("num_hidden_layers", json!(0)),
            ("hidden_size", json!("wide")),
            ("head_dim", json!(3)),
            ("rope_theta", json!(-1)),
        ] {
            let mut value = smollm();
            value[key] = bad;
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
