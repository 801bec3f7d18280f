//! The files of a data set that is a folder: `data.path`.
//!
//! There are two kinds. A folder that `save_to_disk` of Hugging Face's datasets wrote has a `state.json` that lists its
//! Arrow streams; if it has several splits, there is a `dataset_dict.json` above. In any other folder, such as a clone
//! from the Hub, the head of its README.md may list configurations with the files of their splits. Without such a list, the
//! names of files and folders tell the split:
//!
//! 1. If there are files such as `data/SPLIT-00000-of-00002.parquet`, only those count.
//! 2. Otherwise every file of JSON, Parquet or Arrow in the folder and its subfolders counts that holds rows. The split is in the
//!    file's name before the number of the piece, or else in the name of the nearest folder that has one. If no name
//!    tells a split, all files are `train`.
//!
//! If several folders have files of the split, each is a configuration by the name of the folder; so are files whose names have
//! different words beside the split, such as `main-train.jsonl`. A data set with several configurations is refused unless one
//! is chosen, because their rows are often the same.
//!
//! A piece of the split that is missing, there twice, or in a format that is not read, is refused by name.
//!
//! Hidden files and folders are skipped, and so are names that begin with two underscores.

mod configurations;
mod head;
mod held;
mod named;
mod pieces;
mod saved;
mod told;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

pub(crate) use self::pieces::check_matched;
use self::{
    configurations::listed_files,
    named::{named_files, saved_below},
    saved::{is_saved, saved_files, saved_splits},
};
use crate::{CorpusError, error::open_error};

/// The split that is read if none is named.
const DEFAULT_SPLIT: &str = "train";

/// The files of a split of the data set in `folder`, sorted by name.
///
/// # Errors
///
/// A folder that is missing, has no data, lacks the configuration or the split, has several configurations of which none is
/// chosen, or has the split in files of several kinds, in formats that are not read, without some of its
/// pieces, or with two versions of one.
pub(crate) fn folder_files(
    folder: &Path,
    config: Option<&str>,
    split: Option<&str>,
) -> Result<Vec<PathBuf>, CorpusError> {
    check_is_folder(folder)?;
    let split_name = split.unwrap_or(DEFAULT_SPLIT);
    let is_saved = is_saved(folder);
    if !is_saved && let Some(files) = listed_files(folder, config, split_name)? {
        return Ok(files);
    }
    match config {
        None => files_without_list(folder, split),
        Some(config) if !is_saved && leadspan_files::is_plain_name(config) && folder.join(config).is_dir() => {
            files_without_list(&folder.join(config), split)
        }
        Some(config) if !is_saved => named_files(folder, Some(config), split_name),
        Some(config) => Err(CorpusError::NoSuchConfiguration {
            path: folder.to_owned(),
            config: config.to_owned(),
            known: Vec::new(),
        }),
    }
}

fn check_is_folder(folder: &Path) -> Result<(), CorpusError> {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(CorpusError::NotAFolder {
            path: folder.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CorpusError::MissingFolder {
            path: folder.to_owned(),
        }),
        Err(error) => Err(open_error(folder, error)),
    }
}

/// The files of a split in a folder whose README.md lists no configurations.
fn files_without_list(folder: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, CorpusError> {
    let split_name = split.unwrap_or(DEFAULT_SPLIT);
    if let Some(splits) = saved_splits(folder)? {
        if !splits.iter().any(|known| known == split_name) {
            return Err(no_split(folder, split_name, splits));
        }
        return saved_files(&folder.join(split_name), None)?.ok_or_else(|| CorpusError::NoDataInFolder {
            path: folder.join(split_name),
        });
    }
    if let Some(files) = saved_files(folder, split)? {
        return Ok(files);
    }
    match saved_below(folder, split_name)? {
        Some(saved) if saved_splits(&saved)?.is_some() => files_without_list(&saved, split),
        Some(saved) => files_without_list(&saved, None),
        None => named_files(folder, None, split_name),
    }
}

fn no_split(folder: &Path, split: &str, known: impl IntoIterator<Item = String>) -> CorpusError {
    let known: BTreeSet<String> = known.into_iter().collect();
    CorpusError::NoSuchSplit {
        path: folder.to_owned(),
        split: split.to_owned(),
        known: known.into_iter().collect(),
    }
}

#[cfg(test)]
mod beside_tests;
#[cfg(test)]
mod pieces_tests;
#[cfg(test)]
mod tests;
