//! `adapter_config.json` of a learnt adapter, as PEFT's `save_pretrained` writes it.

use serde_json::{Value, json};

use super::{modules::AdaptedModules, settings::LoraSettings};

/// The key of the digest of the base's weights in the metadata of an adapter's tensors.
pub(crate) const BASE_WEIGHTS: &str = "leadspan_base_weights";

/// The model that an adapter belongs to, as its configuration names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterBase {
    /// The id of a Hub model, or a path.
    pub name: Option<String>,
    /// The revision of a Hub model.
    pub revision: Option<String>,
    /// The digest of the bytes of its weights, [`ModelSource::weights_fingerprint`](crate::ModelSource::weights_fingerprint).
    pub weights: String,
}

/// The adapters that a student learns.
#[derive(Clone, Debug)]
pub struct Lora {
    pub(crate) settings: LoraSettings,
    pub(crate) modules: AdaptedModules,
    /// The seed of their initial values.
    pub(crate) seed: u64,
}

impl Lora {
    /// The contents of `adapter_config.json` for an adapter of `base`.
    pub(crate) fn config(&self, base: &AdapterBase) -> Value {
        let LoraSettings {
            rank,
            alpha,
            use_rslora,
            ..
        } = &self.settings;
        // PEFT writes a whole number as one.
        let alpha = if alpha.fract() == 0.0 && *alpha < 1e15 {
            json!(*alpha as u64)
        } else {
            json!(alpha)
        };
        json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": base.name,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": 0.0,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": rank,
            "rank_pattern": {},
            "revision": base.revision,
            "target_modules": self.modules.listed(),
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": use_rslora,
        })
    }
}
