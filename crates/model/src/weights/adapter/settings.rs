//! `adapter_config.json`: how PEFT scales what a LoRA adapter adds, and which of its features are not read.

use std::{collections::BTreeMap, path::Path};

use onig::{MatchParam, Regex, SearchOptions};
use serde_json::{Map, Value};

use crate::{
    config::{json::read_object, keys::Keys},
    error::ModelError,
};

/// What a LoRA adapter says about itself.
pub(super) struct LoraSettings {
    rank: usize,
    alpha: f64,
    /// Whether α is divided by the root of the rank.
    rank_stabilised: bool,
    ranks: Patterns,
    alphas: Patterns,
    /// The modules that are listed as targets; empty if an expression describes them.
    pub(super) targets: Vec<String>,
    /// The modules that are replaced as a whole.
    pub(super) saved: Vec<String>,
    /// The model that the adapter was trained for, as it calls it.
    pub(super) base: Option<String>,
}

/// The keys that are read, or that do not change what the stored tensors mean.
const KNOWN: [&str; 32] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "lora_dtype",
    "lorap_emb_lr",
    "lorap_lr_ratio",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// The ways to initialise an adapter that leave the weights of its base as they are.
const INITIAL: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// The way out for an adapter that does not fit its own settings.
pub(super) const SAVE: &str = "save the adapter again with PEFT's `save_pretrained`";

/// The way out for an adapter that is not read.
pub(super) const MERGE: &str = "merge the adapter with PEFT (`merge_and_unload`), and use the merged model";

/// Why the product of the matrices of a module cannot be scaled, and the way out.
pub(super) struct Unscaled {
    pub(super) reason: String,
    pub(super) hint: &'static str,
}

/// What is said of a setting that is not read.
const UNSUPPORTED: &str =
    "that is not supported: merge the adapter with PEFT (`merge_and_unload`), and use the merged model";

/// The most steps of an expression at one place of a name.
const MOST_STEPS: u32 = 10_000;

impl LoraSettings {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, describes another kind of adapter, or asks for something that is not read.
    pub(super) fn read(path: &Path) -> Result<Self, ModelError> {
        let map = read_object(path)?;
        let keys = Keys::new(path, &map);
        if keys.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return Err(keys.refuse("peft_type", "only `LORA` is read"));
        }
        if keys.is_on("use_dora")? {
            return Err(keys.refuse("use_dora", UNSUPPORTED));
        }
        if keys.is_on("fan_in_fan_out")? {
            let expected = "no supported model stores its weights like that";
            return Err(keys.refuse("fan_in_fan_out", expected));
        }
        let initial = keys.get("init_lora_weights");
        if !initial.is_none_or(|initial| {
            initial.is_boolean() || initial.as_str().is_some_and(|initial| INITIAL.contains(&initial))
        }) {
            let expected = "that changes the weights of the base: save the adapter with \
                            `path_initial_model_for_weight_conversion`, or use a merged model";
            return Err(keys.refuse("init_lora_weights", expected));
        }
        if let Some(unknown) = map
            .keys()
            .find(|key| !KNOWN.contains(&key.as_str()) && !is_off(&map[*key]))
        {
            return Err(keys.refuse(unknown, UNSUPPORTED));
        }
        let alpha = keys.get("lora_alpha").and_then(Value::as_f64);
        let names = |key: &str| -> Vec<String> {
            let values = keys.get(key).and_then(Value::as_array).into_iter().flatten();
            values.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Self {
            rank: keys.number("r")?,
            alpha: alpha.ok_or_else(|| keys.refuse("lora_alpha", "it must be a number"))?,
            rank_stabilised: keys.is_on("use_rslora")?,
            ranks: Patterns::read(keys, &map, "rank_pattern")?,
            alphas: Patterns::read(keys, &map, "alpha_pattern")?,
            targets: names("target_modules"),
            saved: names("modules_to_save"),
            base: keys
                .get("base_model_name_or_path")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }

    /// What the product of the two matrices of a module is multiplied by. `found` is the rank that they have.
    ///
    /// # Errors
    ///
    /// If the settings give another rank, two rules for the module, or no number.
    pub(super) fn scale(&self, module: &str, found: usize) -> Result<f64, Unscaled> {
        // PEFT takes the first rule in an order that the file does not keep.
        let unclear = |reason| Unscaled { reason, hint: MERGE };
        let rank = self.ranks.of(module).map_err(unclear)?.unwrap_or(self.rank as f64);
        let alpha = self.alphas.of(module).map_err(unclear)?.unwrap_or(self.alpha);
        let wrong = |reason| Unscaled { reason, hint: SAVE };
        if rank != found as f64 {
            return Err(wrong(format!(
                "`{module}` has rank {found}, but its configuration says {rank}"
            )));
        }
        let scale = alpha / if self.rank_stabilised { rank.sqrt() } else { rank };
        if scale.is_finite() {
            Ok(scale)
        } else {
            Err(wrong(format!("the scale of `{module}` is not finite")))
        }
    }
}

/// Whether a value is that of a feature that is off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Values for the modules whose names end with a match of an expression.
struct Patterns {
    key: &'static str,
    values: Vec<(Regex, f64)>,
}

impl Patterns {
    fn read(keys: Keys<'_>, map: &Map<String, Value>, key: &'static str) -> Result<Self, ModelError> {
        let refuse = |expected: &str| keys.refuse(key, expected);
        let table: BTreeMap<&String, &Value> = match map.get(key) {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(table)) => table.iter().collect(),
            Some(_) => return Err(refuse("it must be an object")),
        };
        let values = table.into_iter().map(|(pattern, value)| {
            let compiled = Regex::new(&format!(r"\A(?:.*\.)?(?:{pattern})\z"));
            let compiled = compiled.map_err(|_| refuse("its keys must be names or regular expressions"))?;
            let value = value.as_f64().ok_or_else(|| refuse("its values must be numbers"))?;
            Ok((compiled, value))
        });
        Ok(Self {
            key,
            values: values.collect::<Result<_, ModelError>>()?,
        })
    }

    /// The value for a module; `None` if no expression matches.
    fn of(&self, module: &str) -> Result<Option<f64>, String> {
        let mut found: Option<f64> = None;
        for (pattern, value) in &self.values {
            let mut limits = MatchParam::default();
            limits.set_retry_limit_in_match(MOST_STEPS);
            let (text, options) = (module, SearchOptions::SEARCH_OPTION_NONE);
            match pattern.search_with_param(text, 0, text.len(), options, None, limits) {
                Err(_) => return Err(format!("an expression of `{}` takes too long for `{module}`", self.key)),
                Ok(None) => {}
                Ok(Some(_)) if found.is_some_and(|found| found != *value) => {
                    return Err(format!("two expressions of `{}` match `{module}`", self.key));
                }
                Ok(Some(_)) => found = Some(*value),
            }
        }
        Ok(found)
    }
}
