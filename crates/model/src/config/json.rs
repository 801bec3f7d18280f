//! The architecture in `config.json`, as transformers 4 and 5 write it: read and written.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{DecoderConfig, Experts, Family, RotaryScaling, scaling::mscale, yarn_attention_factor};
use crate::ModelError;

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
        if let Some(experts) = &self.experts {
            let dense: Vec<usize> = (0..self.num_hidden_layers)
                .filter(|layer| !experts.layers.contains(layer))
                .collect();
            map.insert("num_experts".into(), json!(experts.count));
            map.insert("num_experts_per_tok".into(), json!(experts.per_token));
            map.insert("moe_intermediate_size".into(), json!(experts.intermediate_size));
            map.insert("norm_topk_prob".into(), json!(experts.normalize));
            map.insert("decoder_sparse_step".into(), json!(1));
            map.insert("mlp_only_layers".into(), json!(dense));
        }
        if let RotaryScaling::Llama3 { .. } | RotaryScaling::Yarn { .. } = self.rope_scaling {
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
            return Err(self.refuse(
                "model_type",
                "this decoder knows `llama`, `qwen2`, `qwen3` and `qwen3_moe`",
            ));
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
            experts: self.experts(family)?,
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
        let refuse = |key: &str, found: String, expected: String| ModelError::Config {
            path: self.path.to_owned(),
            key: key.into(),
            found,
            expected,
        };
        let kind = table
            .get("rope_type")
            .or_else(|| table.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default");
        for map in [table, self.map] {
            if let Some(share) = self.float(map, "partial_rotary_factor")?
                && share != 1.0
            {
                let expected = "heads are rotated whole here".to_owned();
                return Err(refuse("partial_rotary_factor", share.to_string(), expected));
            }
        }
        let optional = |key: &str| self.float(table, key);
        let required = |key: &str| {
            let missing = || refuse(key, "missing".into(), format!("rotary scaling `{kind}` needs it"));
            optional(key)?.ok_or_else(missing)
        };
        // Some configurations have it beside the table; there it counts more, as in transformers.
        let original = match self.optional_number("original_max_position_embeddings")? {
            Some(original) => Some(original),
            None => optional("original_max_position_embeddings")?.map(|original| original as usize),
        };
        match kind {
            "default" => Ok(RotaryScaling::Default),
            "llama3" => Ok(RotaryScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor: required("low_freq_factor")?,
                high_freq_factor: required("high_freq_factor")?,
                original_max_position_embeddings: match original {
                    Some(original) => original,
                    None => required("original_max_position_embeddings")? as usize,
                },
            }),
            "yarn" => {
                let written = self.number("max_position_embeddings")?;
                let original = original.unwrap_or(written);
                let factor = optional("factor")?.unwrap_or(written as f64 / original.max(1) as f64);
                let weights = (optional("mscale")?, optional("mscale_all_dim")?);
                let attention_factor = match (optional("attention_factor")?, weights) {
                    (Some(given), _) => given,
                    (None, (Some(of_half), Some(of_all))) if of_half != 0.0 && of_all != 0.0 => {
                        mscale(factor, of_half) / mscale(factor, of_all)
                    }
                    _ => yarn_attention_factor(factor),
                };
                Ok(RotaryScaling::Yarn {
                    factor,
                    original_max_position_embeddings: original,
                    attention_factor,
                    beta_fast: optional("beta_fast")?.unwrap_or(32.0),
                    beta_slow: optional("beta_slow")?.unwrap_or(1.0),
                    truncate: table.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                })
            }
            other => {
                let expected = "this decoder knows `default`, `llama3` and `yarn`".to_owned();
                Err(refuse("rope_type", other.to_owned(), expected))
            }
        }
    }

    /// The experts of a mixture: layer i has them where i + 1 is a multiple of `decoder_sparse_step` and
    /// `mlp_only_layers` does not name it.
    fn experts(&self, family: Family) -> Result<Option<Experts>, ModelError> {
        if family != Family::Qwen3Moe {
            return Ok(None);
        }
        // Published configurations have always had the first; transformers called it otherwise for a while.
        let count = match self.optional_number("num_experts")? {
            Some(count) => count,
            None => self.number("num_local_experts")?,
        };
        let step = self.optional_number("decoder_sparse_step")?.unwrap_or(1);
        if step == 0 {
            return Err(self.refuse("decoder_sparse_step", "it must be at least 1"));
        }
        let dense: Vec<u64> = match self.map.get("mlp_only_layers") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(layers)) => layers.iter().filter_map(Value::as_u64).collect(),
            Some(_) => return Err(self.refuse("mlp_only_layers", "it must be a list of layers")),
        };
        let has_experts = |layer: &usize| (layer + 1).is_multiple_of(step) && !dense.contains(&(*layer as u64));
        let layers: Vec<usize> = (0..self.number("num_hidden_layers")?).filter(has_experts).collect();
        if count == 0 || layers.is_empty() {
            return Ok(None);
        }
        Ok(Some(Experts {
            count,
            per_token: self.number("num_experts_per_tok")?,
            intermediate_size: self.number("moe_intermediate_size")?,
            normalize: self.map.get("norm_topk_prob").and_then(Value::as_bool).unwrap_or(false),
            layers,
        }))
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
        new["rope_parameters"]["rope_type"] = json!("longrope");
        assert!(
            read(&new)
                .unwrap_err()
                .to_string()
                .contains("`rope_type` is `longrope`")
        );
    }

    #[test]
    fn yarn_is_read_with_its_defaults_and_reaches_as_far_as_it_stretches() {
        let mut value = smollm();
        value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192});
        let config = read(&value).unwrap();
        let RotaryScaling::Yarn {
            attention_factor,
            beta_fast,
            beta_slow,
            truncate,
            ..
        } = config.rope_scaling
        else {
            panic!("{config:?}")
        };
        // 0.1 · ln 4 + 1.
        assert!((attention_factor - 1.138_629_436).abs() < 1e-9);
        assert_eq!((beta_fast, beta_slow, truncate), (32.0, 1.0, true));
        assert_eq!((config.max_position_embeddings, config.context()), (8192, 32768));
        // Without a context of pre-training it is the written one, and without a factor their ratio.
        value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0});
        assert_eq!(read(&value).unwrap().context(), 32768);
        value["rope_scaling"] = json!({"type": "yarn", "factor": null, "original_max_position_embeddings": 4096});
        let config = read(&value).unwrap();
        assert!(matches!(config.rope_scaling, RotaryScaling::Yarn { factor: 2.0, .. }));
        assert_eq!(config.context(), 8192);
        // (0.1 · ln 4 + 1) / (0.05 · ln 4 + 1).
        value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.5});
        let RotaryScaling::Yarn { attention_factor, .. } = read(&value).unwrap().rope_scaling else {
            panic!("yarn was asked for")
        };
        assert!((attention_factor - 1.138_629_436 / 1.069_314_718).abs() < 1e-9);
    }

    fn mixture() -> Value {
        let mut value = smollm();
        value["model_type"] = json!("qwen3_moe");
        for (key, number) in [
            ("num_hidden_layers", 6),
            ("num_experts", 8),
            ("num_experts_per_tok", 2),
            ("moe_intermediate_size", 32),
        ] {
            value[key] = json!(number);
        }
        value
    }

    #[test]
    fn layers_have_experts_at_every_step_but_where_they_are_said_to_be_dense() {
        let layers = |step: u64, dense: Value| {
            let mut value = mixture();
            value["decoder_sparse_step"] = json!(step);
            value["mlp_only_layers"] = dense;
            read(&value).unwrap().experts.map(|experts| experts.layers)
        };
        assert_eq!(layers(1, Value::Null), Some(vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(layers(2, json!([])), Some(vec![1, 3, 5]));
        assert_eq!(layers(2, json!([3, 4])), Some(vec![1, 5]));
        assert_eq!(layers(7, json!([])), None);
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
        let mut value = mixture();
        value["rope_scaling"] = json!({"rope_type": "yarn", "factor": 3.0, "beta_fast": 20, "truncate": false});
        value["mlp_only_layers"] = json!([2]);
        let config = read(&value).unwrap();
        assert_eq!(read(&config.to_json()).unwrap(), config);
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
        for (key, bad) in [
            ("num_experts_per_tok", json!(9)),
            ("num_experts_per_tok", json!(0)),
            ("moe_intermediate_size", json!(0)),
            ("decoder_sparse_step", json!(0)),
            ("mlp_only_layers", json!("all")),
        ] {
            let mut value = mixture();
            value[key] = bad;
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        for (key, bad) in [
            ("factor", json!(0)),
            ("partial_rotary_factor", json!(0.5)),
            ("attention_factor", json!(-1)),
            ("beta_fast", json!(0.5)),
            ("original_max_position_embeddings", json!(0)),
        ] {
            let mut value = smollm();
            value["rope_scaling"] = json!({"type": "yarn", "factor": 4.0});
            value["rope_scaling"][key] = bad;
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }
}
