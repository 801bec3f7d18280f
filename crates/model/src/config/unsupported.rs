//! Keys of `config.json` that ask for something that this decoder does not compute.

use serde_json::Value;

use super::keys::{Keys, UNSUPPORTED};
use crate::{
    error::ModelError,
    families::{Activation, Family},
};

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

/// Refuses the first key whose value is not supported for a model of the family.
///
/// # Errors
///
/// [`ModelError::Config`] for that key.
pub(super) fn refuse(keys: Keys<'_>, family: Family) -> Result<(), ModelError> {
    let description = family.description();
    let known = description.parts.as_ref().map_or(&[][..], |parts| parts.keys);
    for key in ["mlp_bias", "use_sliding_window", "use_bidirectional_attention"] {
        if keys.is_on(key)? {
            return Err(keys.refuse(key, UNSUPPORTED));
        }
    }
    let activation = description.activation.as_str();
    let is_other = |key: &str| keys.get(key).is_some() && keys.text(key) != Some(activation);
    // Only families whose nonlinearity is another have the second name.
    let names = if description.activation == Activation::Silu {
        1
    } else {
        2
    };
    if let Some(&key) = ["hidden_act", "hidden_activation"][..names]
        .iter()
        .find(|key| is_other(key))
    {
        return Err(keys.refuse(key, format!("only `{activation}` is supported")));
    }
    for key in FACTORS.into_iter().filter(|key| !known.contains(key)) {
        if keys.get(key).is_some_and(|value| value.as_f64() != Some(1.0)) {
            return Err(keys.refuse(key, UNSUPPORTED));
        }
    }
    let mut numbers = NUMBERS.into_iter().filter(|key| !known.contains(key));
    if let Some(key) = numbers.find(|key| keys.get(key).is_some()) {
        return Err(keys.refuse(key, UNSUPPORTED));
    }
    if let Some(kinds) = keys.get("layer_types").filter(|_| !known.contains(&"layer_types")) {
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
