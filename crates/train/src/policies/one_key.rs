//! Tables of the pipeline file of which exactly one key is set.

use serde::de::Error;

/// The only value that is there.
///
/// # Errors
///
/// If there is none, or several; `names` are the keys of the values.
pub(super) fn only<T, E: Error>(names: &[&str], values: impl IntoIterator<Item = Option<T>>) -> Result<T, E> {
    let mut set = names
        .iter()
        .zip(values)
        .filter_map(|(name, value)| Some((name, value?)));
    match (set.next(), set.next()) {
        (Some((_, value)), None) => Ok(value),
        (Some((first, _)), Some((second, _))) => Err(E::custom(format!(
            "`{first}` and `{second}` are both set, and it takes one of them"
        ))),
        (None, _) => Err(E::custom(format!(
            "the table is empty: it takes one of `{}`",
            names.join("`, `")
        ))),
    }
}
