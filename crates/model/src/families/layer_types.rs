//! `layer_types` and `sliding_window` of `config.json`: which layers differ from those that attend to all earlier tokens.

use serde_json::Value;

use crate::{config::keys::Keys, error::ModelError};

/// The name of a layer that attends to all earlier tokens.
pub(super) const FULL: &str = "full_attention";
/// The name of a layer with a window.
pub(super) const SLIDING: &str = "sliding_attention";

/// Whether each layer is of the kind `other`, according to `layer_types`; `None` if there is no such key.
///
/// # Errors
///
/// If the value is not a list of known names, one for each layer.
pub(super) fn are(other: &str, keys: Keys<'_>) -> Result<Option<Vec<bool>>, ModelError> {
    const KEY: &str = "layer_types";
    let Some(value) = keys.get(KEY) else { return Ok(None) };
    let of = |name: &Value| match name.as_str() {
        Some(FULL) => Some(false),
        Some(name) if name == other => Some(true),
        _ => None,
    };
    let layers: Option<Vec<bool>> = value.as_array().and_then(|names| names.iter().map(of).collect());
    let count = keys.number("num_hidden_layers")?;
    let refused = || {
        let expected = format!("it must be a list of `{FULL}` or `{other}` for each of the {count} layers");
        keys.refuse(KEY, expected)
    };
    layers
        .filter(|layers| layers.len() == count)
        .map(Some)
        .ok_or_else(refused)
}

/// The window of `sliding_window`: `default` if the key is missing, none if it is null.
///
/// # Errors
///
/// If the value is no whole number.
pub(super) fn window(keys: Keys<'_>, default: Option<usize>) -> Result<Option<usize>, ModelError> {
    match keys.raw("sliding_window") {
        None => Ok(default),
        Some(_) => keys.optional_number("sliding_window"),
    }
}
