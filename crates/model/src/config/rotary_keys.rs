//! The rotary embedding in `config.json`, as transformers 4 and 5 write it.
//!
//! transformers 5 writes everything into `rope_parameters`; 4 wrote `rope_theta` beside `rope_scaling`.

use super::{
    keys::Keys,
    scaling::{RotaryScaling, mscale, yarn_attention_factor},
};
use crate::error::ModelError;

/// The object that describes the scaling.
fn table(keys: Keys<'_>) -> Option<Keys<'_>> {
    keys.object("rope_parameters").or_else(|| keys.object("rope_scaling"))
}

/// The base of the rotary frequencies.
///
/// # Errors
///
/// If it is no number.
pub(super) fn theta(keys: Keys<'_>) -> Result<f64, ModelError> {
    let nested = match table(keys) {
        Some(table) => table.float("rope_theta")?,
        None => None,
    };
    Ok(match nested {
        Some(theta) => theta,
        None => keys.float("rope_theta")?.unwrap_or(10_000.0),
    })
}

/// How the frequencies are scaled.
///
/// # Errors
///
/// If a number is missing or the scaling is not supported.
pub(super) fn scaling(keys: Keys<'_>) -> Result<RotaryScaling, ModelError> {
    let Some(table) = table(keys) else {
        return Ok(RotaryScaling::Default);
    };
    for keys in [table, keys] {
        if keys
            .float("partial_rotary_factor")?
            .is_some_and(|proportion| proportion != 1.0)
        {
            return Err(keys.refuse("partial_rotary_factor", "only whole heads can be rotated"));
        }
    }
    let key = if table.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    match table.text(key).unwrap_or("default") {
        "default" => Ok(RotaryScaling::Default),
        "llama3" => llama3(table, original_context(keys, table)?),
        "yarn" => yarn(keys, table, original_context(keys, table)?),
        _ => Err(table.refuse(key, "this decoder supports `default`, `llama3` and `yarn`")),
    }
}

/// The context of pre-training. Some configurations have it beside the table; as in transformers, that value wins.
fn original_context(keys: Keys<'_>, table: Keys<'_>) -> Result<Option<usize>, ModelError> {
    const KEY: &str = "original_max_position_embeddings";
    Ok(match keys.optional_number(KEY)? {
        Some(original) => Some(original),
        None => table.float(KEY)?.map(|original| original as usize),
    })
}

fn llama3(table: Keys<'_>, original: Option<usize>) -> Result<RotaryScaling, ModelError> {
    let missing = |key: &str| table.refuse(key, "rotary scaling `llama3` needs it");
    let required = |key: &str| table.float(key)?.ok_or_else(|| missing(key));
    Ok(RotaryScaling::Llama3 {
        factor: required("factor")?,
        low_freq_factor: required("low_freq_factor")?,
        high_freq_factor: required("high_freq_factor")?,
        original_max_position_embeddings: original.ok_or_else(|| missing("original_max_position_embeddings"))?,
    })
}

fn yarn(keys: Keys<'_>, table: Keys<'_>, original: Option<usize>) -> Result<RotaryScaling, ModelError> {
    let written = keys.number("max_position_embeddings")?;
    let original = original.unwrap_or(written);
    let factor = table
        .float("factor")?
        .unwrap_or(written as f64 / original.max(1) as f64);
    let weights = (table.float("mscale")?, table.float("mscale_all_dim")?);
    let attention_factor = match (table.float("attention_factor")?, weights) {
        (Some(given), _) => given,
        (None, (Some(scale), Some(scale_all))) if scale != 0.0 && scale_all != 0.0 => {
            mscale(factor, scale) / mscale(factor, scale_all)
        }
        _ => yarn_attention_factor(factor),
    };
    Ok(RotaryScaling::Yarn {
        factor,
        original_max_position_embeddings: original,
        attention_factor,
        beta_fast: table.float("beta_fast")?.unwrap_or(32.0),
        beta_slow: table.float("beta_slow")?.unwrap_or(1.0),
        truncate: table
            .get("truncate")
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(true),
    })
}
