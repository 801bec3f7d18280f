//! Paths in JSON. JSON is Unicode and a path need not be: bytes that are no text appear as `�`, as everywhere else.

use std::{borrow::Cow, path::Path, path::PathBuf};

use serde::Serializer;

/// A path as text.
pub(crate) fn text(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// Serializes a path as text.
pub(crate) fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(path))
}

/// Serializes paths as texts.
pub(crate) fn as_texts<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| text(path)))
}
