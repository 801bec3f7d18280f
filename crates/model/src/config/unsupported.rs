//! Keys of `config.json` that ask for something that this decoder does not compute.

use serde_json::Value;

use super::keys::Keys;
use crate::error::ModelError;

/// Factors of other families, which change nothing if they are 1.
const FACTORS: [&str; 6] = [
    "attention_multiplier",
    "embedding_multiplier",
    "logit_scale",
    "logits_scaling",
    "residual_multiplier",
    "scale_embedding",
];

/// Numbers of other families, which change nothing only if they are not set.
const NUMBERS: [&str; 3] = [
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "query_pre_attn_scalar",
];

/// Refuses the first key whose value is not supported.
///
/// # Errors
///
/// [`ModelError::Config`] for that key.
pub(super) fn refuse(keys: Keys<'_>) -> Result<(), ModelError> {
    for key in ["mlp_bias", "use_sliding_window"] {
        if keys.is_on(key)? {
            return Err(keys.refuse(key, "that is not supported"));
        }
    }
    if keys.get("hidden_act").is_some() && keys.text("hidden_act") != Some("silu") {
        return Err(keys.refuse("hidden_act", "only `silu` is supported"));
    }
    for key in FACTORS {
        if keys.get(key).is_some_and(|value| value.as_f64() != Some(1.0)) {
            return Err(keys.refuse(key, "that is not supported"));
        }
    }
    if let Some(key) = NUMBERS.into_iter().find(|key| keys.get(key).is_some()) {
        return Err(keys.refuse(key, "that is not supported"));
    }
    if let Some(kinds) = keys.get("layer_types") {
        let is_full = |kind: &Value| kind.as_str() == Some("full_attention");
        if !kinds.as_array().is_some_and(|kinds| kinds.iter().all(is_full)) {
            return Err(keys.refuse("layer_types", "only `full_attention` is supported"));
        }
    }
    if keys.get("is_causal").is_some() && !keys.is_on("is_causal")? {
        return Err(keys.refuse("is_causal", "only causal attention is supported"));
    }
    if keys.get("text_config").is_some() {
        return Err(keys.refuse("text_config", "only models of text alone are supported"));
    }
    Ok(())
}
