//! Reads JSON files of a run's folder. A missing file is not an error, because a run may be unfinished.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::ExperimentError;

/// The text of a file; `None` if there is no file.
fn text(path: &Path) -> Result<Option<String>, ExperimentError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExperimentError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The object in a file; `None` if there is no file.
pub(super) fn json<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>, ExperimentError> {
    let Some(text) = text(&path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| ExperimentError::Damaged {
            path,
            line: None,
            source,
        })
}

/// The objects of a file with one object on each line; none if there is no file. A last line without a line break is left out:
/// its writer was stopped or is still writing it.
pub(super) fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ExperimentError> {
    let text = text(path)?.unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let object = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|source| ExperimentError::Damaged {
            path: path.to_owned(),
            line: Some(index + 1),
            source,
        })
    };
    lines.map(object).collect()
}
