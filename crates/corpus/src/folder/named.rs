//! Folders in which the names of files and folders tell the split.
//!
//! If the files of the split are in several folders, or their names have different words beside the split, each of these is a
//! configuration of the data set.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    DEFAULT_SPLIT, no_split,
    saved::is_saved,
    told::{Told, name_of_place, piece, split_among_words, usual_name},
};
use crate::{CorpusError, error::open_error, rows::FileKind};

/// The files that belong to the split by their names, sorted. `config` is the chosen configuration, if one is.
///
/// # Errors
///
/// A folder without data or without the split, several configurations of which none is chosen, one that is not there, and files
/// of several kinds.
pub(super) fn named_files(folder: &Path, config: Option<&str>, split: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let split = usual_name(split);
    let mut found = Found::default();
    walk(folder, &mut Vec::new(), &mut found)?;
    let several = |known: BTreeSet<String>| CorpusError::SeveralConfigurations {
        path: folder.to_owned(),
        known: known.into_iter().collect(),
    };
    if !found.saved.is_empty() && config.is_none() {
        let told: Vec<&str> = found.saved.iter().filter_map(|name| split_of_saved(name)).collect();
        if told.len() == found.saved.len() && found.files.is_empty() && !told.contains(&split) {
            return Err(no_split(folder, split, told.into_iter().map(str::to_owned)));
        }
        let files = (!found.files.is_empty()).then(|| ".".to_owned());
        return Err(several(found.saved.into_iter().chain(files).collect()));
    }
    let folders = found.folders();
    let pieces = |file: &&Vec<String>| file.len() == 2 && file[0] == "data" && piece(&file[1]).is_some();
    let in_data: Vec<_> = found.files.iter().filter(pieces).cloned().collect();
    let mut files = if in_data.is_empty() { found.files } else { in_data };
    if files.is_empty() && config.is_none() {
        return Err(CorpusError::NoDataInFolder {
            path: folder.to_owned(),
        });
    }
    files.sort();
    let told: Vec<Option<Told>> = files.iter().map(|file| Told::of(file)).collect();
    let all_untold = told.iter().all(Option::is_none);
    let split_of = |told: &Option<Told>| match told {
        Some(told) => Some(told.split.clone()),
        None => all_untold.then(|| DEFAULT_SPLIT.to_owned()),
    };
    let of_split: Vec<(&Vec<String>, &Option<Told>)> = files
        .iter()
        .zip(&told)
        .filter(|(_, told)| split_of(told).as_deref() == Some(split))
        .collect();
    if of_split.is_empty() && !files.is_empty() {
        return Err(no_split(folder, split, told.iter().filter_map(split_of)));
    }
    let configurations = configurations(of_split.iter().map(|(_, told)| told.as_ref()));
    let known: BTreeSet<String> = configurations.iter().flatten().cloned().collect();
    if let Some(config) = config
        && !known.contains(config)
    {
        let known: BTreeSet<String> = known.into_iter().filter(|name| name != ".").chain(folders).collect();
        return Err(CorpusError::NoSuchConfiguration {
            path: folder.to_owned(),
            config: config.to_owned(),
            known: known.into_iter().collect(),
        });
    }
    if config.is_none() && known.len() > 1 {
        return Err(several(known));
    }
    let is_chosen = |of: &Option<String>| config.is_none() || of.as_deref() == config;
    let paths = of_split
        .iter()
        .zip(&configurations)
        .filter(|(_, of)| is_chosen(of))
        .map(|((file, _), _)| file.iter().fold(folder.to_owned(), |path, part| path.join(part)))
        .collect();
    of_one_kind(paths)
}

/// The configuration of each file; `None` for a file that tells no split.
///
/// Folders behind the split count if there are several: one of them, beside files that are in none, only holds more of the same.
fn configurations<'a>(told: impl Iterator<Item = Option<&'a Told>> + Clone) -> Vec<Option<String>> {
    let behind: BTreeSet<String> = told.clone().flatten().map(Told::behind).collect();
    let behind_counts = behind.iter().filter(|name| !name.is_empty()).count() > 1;
    told.map(|told| Some(told?.configuration(behind_counts))).collect()
}

/// Checks that files are of one kind: those of several kinds probably hold the same rows.
pub(super) fn of_one_kind(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, CorpusError> {
    let other = |first: &PathBuf| {
        files
            .iter()
            .find(|file| FileKind::of(file) != FileKind::of(first))
            .cloned()
    };
    match files.first().and_then(|first| Some((first.clone(), other(first)?))) {
        Some((first, second)) => Err(CorpusError::MixedFolder { first, second }),
        None => Ok(files),
    }
}

/// The saved data set below `folder` that has the split, if there is no other data: the only one, or the only one whose folder
/// tells the split. Its own folder need not tell it then.
pub(super) fn saved_below(folder: &Path, split: &str) -> Result<Option<PathBuf>, CorpusError> {
    let mut found = Found::default();
    walk(folder, &mut Vec::new(), &mut found)?;
    let tells = |name: &&String| split_of_saved(name) == Some(usual_name(split));
    let mut telling = found.saved.iter().filter(tells);
    Ok(
        match (&found.files[..], &found.saved[..], telling.next(), telling.next()) {
            ([], _, Some(only), None) => Some(folder.join(only)),
            ([], [only], ..) if split_of_saved(only).is_none() => Some(folder.join(only)),
            _ => None,
        },
    )
}

/// The split that the folder of a saved data set tells.
fn split_of_saved(name: &str) -> Option<&'static str> {
    split_among_words(name.rsplit('/').next().unwrap_or(name))
}

/// What is below a folder.
#[derive(Default)]
struct Found {
    /// The data files, each as the parts of its path.
    files: Vec<Vec<String>>,
    /// The folders that `save_to_disk` wrote.
    saved: Vec<String>,
}

impl Found {
    /// The names of the folders that have data: what `data.config` may be.
    fn folders(&self) -> Vec<String> {
        let of_files = self.files.iter().filter(|file| file.len() > 1).map(|file| &file[0]);
        of_files.chain(&self.saved).cloned().collect()
    }
}

/// The most levels of folders that are searched: more than any data set has, and few enough to end if a link points to
/// a folder above.
const DEEPEST: usize = 8;

/// Adds the data files and saved data sets below `folder`, whose own path has `parts`.
fn walk(folder: &Path, parts: &mut Vec<String>, found: &mut Found) -> Result<(), CorpusError> {
    let failed = |source| open_error(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // No data set has names that are not valid Unicode, and samples may be known by them.
        let Ok(name) = entry.file_name().into_string() else {
            if is_data(&path) && path.is_file() {
                let what = "named in bytes that are not UTF-8".to_owned();
                return Err(CorpusError::UnsupportedFile { path, what });
            }
            continue;
        };
        if name.starts_with('.') || name.starts_with("__") {
            continue;
        }
        parts.push(name);
        // Links are followed, because the Hub's cache consists of them.
        if path.is_dir() {
            if is_saved(&path) {
                found.saved.push(name_of_place(parts));
            } else if parts.len() < DEEPEST {
                walk(&path, parts, found)?;
            }
        } else if is_data(&path) {
            found.files.push(parts.clone());
        }
        parts.pop();
    }
    Ok(())
}

/// Whether a file of that name holds rows. Those in a compression that is not read count, so that they are not passed over.
fn is_data(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    let stem = name.rsplit_once('.').map_or("", |(stem, extension)| {
        let is_compression = ["gz", "zst", "bz2", "xz", "br", "lz4"].contains(&extension);
        if is_compression { stem } else { "" }
    });
    FileKind::of(path) != FileKind::Json || name.ends_with(".jsonl") || stem.ends_with(".jsonl")
}
