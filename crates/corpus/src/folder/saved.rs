//! Folders written by `save_to_disk` of Hugging Face's datasets, which list their files.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::no_split;
use crate::{CorpusError, error::open_error};

/// The most bytes of a file that describes a saved data set: enough for a hundred thousand pieces.
const STATE_BYTES: u64 = 16 << 20;

/// The files that tell that `save_to_disk` wrote a folder.
const STATES: [&str; 2] = ["dataset_dict.json", "state.json"];

/// Whether a folder is a saved data set.
pub(super) fn is_saved(folder: &Path) -> bool {
    STATES.iter().any(|state| folder.join(state).is_file())
}

/// `dataset_dict.json`: several splits, each in a folder of its own.
#[derive(Deserialize)]
struct SavedSplits {
    splits: Vec<String>,
}

/// `state.json`: one split.
#[derive(Deserialize)]
struct SavedState {
    #[serde(rename = "_data_files")]
    data_files: Vec<SavedFile>,
    #[serde(rename = "_split")]
    split: Option<String>,
}

#[derive(Deserialize)]
struct SavedFile {
    #[serde(deserialize_with = "plain_file_name")]
    filename: String,
}

/// The name of a file in the folder, and not of one somewhere else.
fn plain_file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if leadspan_files::is_plain_name(&name) {
        Ok(name)
    } else {
        Err(D::Error::custom(format!("`{name}` is not a plain file name")))
    }
}

/// The splits of a folder with several; `None` if `save_to_disk` did not write it so.
pub(super) fn saved_splits(folder: &Path) -> Result<Option<Vec<String>>, CorpusError> {
    let saved: Option<SavedSplits> = read_json(&folder.join(STATES[0]))?;
    Ok(saved.map(|saved| saved.splits))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, CorpusError> {
    let bytes = match leadspan_files::read_regular(path, STATE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open_error(path, error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| CorpusError::UnreadableFolderState {
            path: path.to_owned(),
            source,
        })
}

/// The Arrow streams of a folder; `None` if `save_to_disk` did not write it.
pub(super) fn saved_files(folder: &Path, split: Option<&str>) -> Result<Option<Vec<PathBuf>>, CorpusError> {
    let Some(SavedState {
        data_files,
        split: saved,
    }) = read_json(&folder.join(STATES[1]))?
    else {
        return Ok(None);
    };
    // A split without a name matches every name.
    if let (Some(asked), Some(saved)) = (split, &saved)
        && asked != saved
    {
        return Err(no_split(folder, asked, vec![saved.clone()]));
    }
    if data_files.is_empty() {
        return Err(CorpusError::NoDataInFolder {
            path: folder.to_owned(),
        });
    }
    let mut files: Vec<PathBuf> = data_files.into_iter().map(|file| folder.join(file.filename)).collect();
    files.sort();
    match files.iter().find(|file| !file.is_file()) {
        Some(other) if other.exists() => Err(CorpusError::NotARegularFile { path: other.clone() }),
        Some(missing) => Err(CorpusError::MissingFile { path: missing.clone() }),
        None => Ok(Some(files)),
    }
}
