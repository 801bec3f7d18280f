//! The rotary embedding in `config.json`, as transformers 4 and 5 write it.
//!
//! transformers 5 writes everything into `rope_parameters`; 4 wrote `rope_theta` beside `rope_scaling`. If both tables are
//! there, transformers takes `rope_scaling` in place of the other, without merging them. A family with local layers has a table
//! for each kind of layers in `rope_parameters`; 4 wrote the base of local layers to `rope_local_base_freq`.

use serde_json::Value;

use super::{
    keys::Keys,
    scaling::{RotaryScaling, mscale, yarn_attention_factor},
};
use crate::{error::ModelError, families::Defaults};

/// The rotary embedding of a model.
pub(super) struct Rotary {
    /// The base of the frequencies.
    pub(super) theta: f64,
    /// How the frequencies are scaled.
    pub(super) scaling: RotaryScaling,
    /// The base of local layers, in a family that has them.
    pub(super) local_theta: Option<f64>,
    /// The proportion of a head that rotates.
    pub(super) partial: f64,
}

/// The rotary embedding, for a family with these defaults.
///
/// # Errors
///
/// If a number is missing or none, or the scaling is not supported.
pub(super) fn read(keys: Keys<'_>, defaults: &Defaults) -> Result<Rotary, ModelError> {
    if let Some(local) = defaults.local_rope_theta {
        return of_both_kinds(keys, defaults.rope_theta, local);
    }
    let table = table(keys, defaults.rope_theta)?;
    let nested = match table {
        Some(table) => table.float("rope_theta")?,
        None => None,
    };
    Ok(Rotary {
        theta: match nested {
            Some(theta) => theta,
            None => keys.float("rope_theta")?.unwrap_or(defaults.rope_theta),
        },
        partial: partial(keys, table, defaults.partial_rotary)?,
        scaling: scaling(keys, table)?,
        local_theta: None,
    })
}

/// The rotary embedding of a family with local and global layers, of which only the global ones scale their frequencies.
fn of_both_kinds(keys: Keys<'_>, global_default: f64, local_default: f64) -> Result<Rotary, ModelError> {
    const TABLES: &str = "rope_parameters";
    const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
    let tables = keys.optional_object(TABLES)?;
    if let Some(other) = tables.and_then(|tables| tables.names().find(|name| !KINDS.contains(name))) {
        let expected = format!("it must hold `{}` and `{}`, not `{other}`", KINDS[0], KINDS[1]);
        return Err(keys.refuse(TABLES, expected));
    }
    let [global, local] = KINDS.map(|kind| tables.map_or(Ok(None), |tables| tables.optional_object(kind)));
    let (global, local) = (global?, local?);
    let theta = |table: Option<Keys<'_>>, key: &str, default: f64| -> Result<f64, ModelError> {
        let nested = table.map_or(Ok(None), |table| table.float("rope_theta"))?;
        Ok(match nested {
            Some(theta) => theta,
            None => keys.float(key)?.unwrap_or(default),
        })
    };
    let is_scaled = |table: Keys<'_>| table.get(kind_key(table)).is_some_and(|kind| kind != "default");
    if let Some(local) = local.filter(|&local| is_scaled(local)) {
        let expected = "frequencies of local layers can only be `default`";
        return Err(local.refuse(kind_key(local), expected));
    }
    let by_hand = keys.optional_object("rope_scaling")?.filter(|table| !table.is_empty());
    if let Some(by_hand) = by_hand.filter(|&table| kind_key(table) == "type" && is_scaled(table)) {
        // It adds this table to one that has `rope_type` already.
        let expected = "transformers 5 does not read this key in this family, and earlier versions do: name it `rope_type` to scale the \
                        frequencies, or remove `rope_scaling`";
        return Err(by_hand.refuse("type", expected));
    }
    if by_hand.is_some() && global.is_some_and(is_scaled) {
        return Err(keys.refuse(
            "rope_scaling",
            "the frequencies are scaled by `rope_parameters` already",
        ));
    }
    Ok(Rotary {
        partial: partial(keys, global, None)?,
        theta: theta(global, "rope_theta", global_default)?,
        scaling: scaling(keys, by_hand.or(global))?,
        local_theta: Some(theta(local, "rope_local_base_freq", local_default)?),
    })
}

/// The object that describes the rotary embedding.
fn table(keys: Keys<'_>, default_theta: f64) -> Result<Option<Keys<'_>>, ModelError> {
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
        && written.float("rope_theta")?.is_some_and(|theta| theta != default_theta)
    {
        let expected = "it takes the place of `rope_parameters`: copy `rope_theta` into it, or move its keys there";
        return Err(keys.refuse("rope_scaling", expected));
    }
    Ok(by_hand.or(written))
}

/// The proportion of a head that rotates: `default` if nothing says it. Without a default, only whole heads rotate in the family.
fn partial(keys: Keys<'_>, table: Option<Keys<'_>>, default: Option<f64>) -> Result<f64, ModelError> {
    const KEY: &str = "partial_rotary_factor";
    for keys in table.into_iter().chain([keys]) {
        let Some(proportion) = keys.float(KEY)? else { continue };
        if default.is_none() && proportion != 1.0 {
            return Err(keys.refuse(KEY, "only whole heads can be rotated in this family"));
        }
        if !(proportion > 0.0 && proportion <= 1.0) {
            return Err(keys.refuse(KEY, "it must be above 0 and at most 1"));
        }
        if default.is_some() {
            return Ok(proportion);
        }
    }
    Ok(default.unwrap_or(1.0))
}

/// The key of a table that names the kind of scaling: `type` is an older name.
fn kind_key(table: Keys<'_>) -> &'static str {
    if table.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    }
}

/// How the frequencies are scaled, according to `table`.
fn scaling(keys: Keys<'_>, table: Option<Keys<'_>>) -> Result<RotaryScaling, ModelError> {
    let Some(table) = table else {
        return Ok(RotaryScaling::Default);
    };
    let key = kind_key(table);
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
        "llama3" => llama3(table, one_original_context(keys, table)?),
        // Earlier versions of Phi-3 have these names for it.
        "su" | "yarn" | "longrope" if table.get("short_factor").is_some() => {
            long_rope(keys, table, original_context(keys, table)?)
        }
        "longrope" | "su" => Err(table.refuse("short_factor", "rotary scaling `longrope` needs it")),
        "yarn" => yarn(keys, table, one_original_context(keys, table)?),
        _ => Err(table.refuse(
            key,
            "this decoder supports `default`, `linear`, `llama3`, `longrope` and `yarn`",
        )),
    }
}

const ORIGINAL_CONTEXT: &str = "original_max_position_embeddings";

/// The context of pre-training. Phi-3 has it beside the table; as in transformers, that value wins.
fn original_context(keys: Keys<'_>, table: Keys<'_>) -> Result<Option<usize>, ModelError> {
    Ok(match keys.optional_number(ORIGINAL_CONTEXT)? {
        Some(original) => Some(original),
        None => table.float(ORIGINAL_CONTEXT)?.map(|original| original as usize),
    })
}

/// The context of pre-training, which the table has. transformers 4 takes the value beside the table first, and transformers 5
/// leaves it out, so both must be the same.
fn one_original_context(keys: Keys<'_>, table: Keys<'_>) -> Result<Option<usize>, ModelError> {
    let inside = table.float(ORIGINAL_CONTEXT)?.map(|original| original as usize);
    match keys.optional_number(ORIGINAL_CONTEXT)? {
        Some(beside) if inside != Some(beside) => {
            let reason = format!("the configuration has {beside} beside the table: write the right one into the table");
            Err(table.refuse(ORIGINAL_CONTEXT, reason))
        }
        _ => Ok(inside),
    }
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

fn long_rope(keys: Keys<'_>, table: Keys<'_>, original: Option<usize>) -> Result<RotaryScaling, ModelError> {
    let numbers = |key: &str| -> Result<Vec<f64>, ModelError> {
        let values = table.get(key).and_then(Value::as_array);
        let numbers = values.and_then(|values| values.iter().map(Value::as_f64).collect());
        numbers.ok_or_else(|| table.refuse(key, "it must be a list of numbers"))
    };
    let missing = || table.refuse("original_max_position_embeddings", "rotary scaling `longrope` needs it");
    let original = original.filter(|&original| original > 1).ok_or_else(missing)?;
    let factor = match table.float("factor")? {
        Some(factor) => factor,
        None => keys.number("max_position_embeddings")? as f64 / original as f64,
    };
    let attention_factor = match table.float("attention_factor")? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(RotaryScaling::LongRope {
        short_factor: numbers("short_factor")?,
        long_factor: numbers("long_factor")?,
        attention_factor,
        original_max_position_embeddings: original,
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
