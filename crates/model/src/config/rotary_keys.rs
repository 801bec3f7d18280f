//! The rotary embedding in `config.json`, as transformers 4 and 5 write it.
//!
//! transformers 5 writes everything into `rope_parameters`; 4 wrote `rope_theta` beside `rope_scaling`. If both tables are
//! there, transformers takes `rope_scaling` in place of the other, without merging them.

use super::{
    keys::Keys,
    scaling::{RotaryScaling, mscale, yarn_attention_factor},
};
use crate::error::ModelError;

/// The object that describes the rotary embedding.
fn table(keys: Keys<'_>) -> Result<Option<Keys<'_>>, ModelError> {
    let of = |key: &str| -> Result<Option<Keys<'_>>, ModelError> {
        let Some(table) = keys.optional_object(key)? else {
            return Ok(None);
        };
        if let Some(layers) = table.names().find(|name| table.object(name).is_some()) {
            return Err(table.refuse(layers, "all layers must share one set of rotary parameters"));
        }
        Ok(Some(table).filter(|table| !table.is_empty()))
    };
    let (by_hand, written) = (of("rope_scaling")?, of("rope_parameters")?);
    if let (Some(by_hand), Some(written)) = (by_hand, written)
        && by_hand.float("rope_theta")?.is_none()
        && keys.float("rope_theta")?.is_none()
        && written.float("rope_theta")?.is_some_and(|theta| theta != DEFAULT_THETA)
    {
        let expected = "it takes the place of `rope_parameters`: copy `rope_theta` into it, or move its keys there";
        return Err(keys.refuse("rope_scaling", expected));
    }
    Ok(by_hand.or(written))
}

/// The base of the rotary frequencies if a configuration has none.
const DEFAULT_THETA: f64 = 10_000.0;

/// The base of the rotary frequencies.
///
/// # Errors
///
/// If it is no number.
pub(super) fn theta(keys: Keys<'_>) -> Result<f64, ModelError> {
    let nested = match table(keys)? {
        Some(table) => table.float("rope_theta")?,
        None => None,
    };
    Ok(match nested {
        Some(theta) => theta,
        None => keys.float("rope_theta")?.unwrap_or(DEFAULT_THETA),
    })
}

/// How the frequencies are scaled.
///
/// # Errors
///
/// If a number is missing or the scaling is not supported.
pub(super) fn scaling(keys: Keys<'_>) -> Result<RotaryScaling, ModelError> {
    let table = table(keys)?;
    for keys in table.into_iter().chain([keys]) {
        if keys
            .float("partial_rotary_factor")?
            .is_some_and(|proportion| proportion != 1.0)
        {
            return Err(keys.refuse("partial_rotary_factor", "only whole heads can be rotated"));
        }
    }
    let Some(table) = table else {
        return Ok(RotaryScaling::Default);
    };
    let key = if table.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    let kind = match table.get(key) {
        None => "default",
        // Another value has no name.
        Some(_) => table.text(key).unwrap_or_default(),
    };
    match kind {
        "default" => Ok(RotaryScaling::Default),
        "linear" => Ok(RotaryScaling::Linear {
            factor: table
                .float("factor")?
                .ok_or_else(|| table.refuse("factor", "rotary scaling `linear` needs it"))?,
        }),
        "llama3" => llama3(table, original_context(keys, table)?),
        "yarn" => yarn(keys, table, original_context(keys, table)?),
        _ => Err(table.refuse(key, "this decoder supports `default`, `linear`, `llama3` and `yarn`")),
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
        // Null is off, unlike a key that is missing.
        truncate: table.raw("truncate").is_none() || table.is_on("truncate")?,
    })
}
