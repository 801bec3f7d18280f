//! Folders in which the names of files and folders tell the split.
//!
//! If several folders have files of the split, each of them is a configuration of the data set.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{DEFAULT_SPLIT, no_split, saved::is_saved};
use crate::{CorpusError, error::open_error, rows::FileKind};

/// The usual splits, each with the names that stand for it.
const SPLIT_NAMES: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The files that belong to the split by their names, sorted.
///
/// # Errors
///
/// A folder without data or without the split, several configurations, and files of several kinds.
pub(super) fn named_files(folder: &Path, split: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let split = usual_name(split);
    let mut found = Found::default();
    walk(folder, &mut Vec::new(), &mut found)?;
    let several = |known: BTreeSet<String>| CorpusError::SeveralConfigurations {
        path: folder.to_owned(),
        known: known.into_iter().collect(),
    };
    if !found.saved.is_empty() {
        let told: Vec<&str> = found.saved.iter().filter_map(|name| split_of_saved(name)).collect();
        if told.len() == found.saved.len() && found.files.is_empty() && !told.contains(&split) {
            return Err(no_split(folder, split, told.into_iter().map(str::to_owned)));
        }
        let files = (!found.files.is_empty()).then(|| name_of_place(&[]));
        return Err(several(found.saved.into_iter().chain(files).collect()));
    }
    let pieces = |file: &&Vec<String>| file.len() == 2 && file[0] == "data" && is_piece(&file[1]);
    let in_data: Vec<_> = found.files.iter().filter(pieces).cloned().collect();
    let mut files = if in_data.is_empty() { found.files } else { in_data };
    if files.is_empty() {
        return Err(CorpusError::NoDataInFolder {
            path: folder.to_owned(),
        });
    }
    files.sort();
    let splits: Vec<Option<(String, &[String])>> = files.iter().map(|file| split_of(file)).collect();
    let default = || splits.iter().all(Option::is_none).then(|| DEFAULT_SPLIT.to_owned());
    let of = |named: &Option<(String, &[String])>| named.as_ref().map(|(split, _)| split.clone()).or_else(default);
    let chosen = || {
        files
            .iter()
            .zip(&splits)
            .filter(|(_, named)| of(named).as_deref() == Some(split))
    };
    let places: BTreeSet<&[String]> = chosen().filter_map(|(_, named)| Some(named.as_ref()?.1)).collect();
    if places.len() > 1 {
        return Err(several(places.into_iter().map(name_of_place).collect()));
    }
    let paths: Vec<PathBuf> = chosen()
        .map(|(file, _)| file.iter().fold(folder.to_owned(), |path, part| path.join(part)))
        .collect();
    if paths.is_empty() {
        return Err(no_split(folder, split, splits.iter().filter_map(of)));
    }
    of_one_kind(paths)
}

/// The name of a folder inside the data set's.
fn name_of_place(parts: &[String]) -> String {
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
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

/// The names of the folders in `folder` that have data: what `data.config` may be.
pub(super) fn folders_with_data(folder: &Path) -> Result<Vec<String>, CorpusError> {
    let mut found = Found::default();
    walk(folder, &mut Vec::new(), &mut found)?;
    let of_files = found
        .files
        .into_iter()
        .filter(|file| file.len() > 1)
        .map(|mut file| file.swap_remove(0));
    let names: BTreeSet<String> = of_files.chain(found.saved).collect();
    Ok(names.into_iter().collect())
}

/// What is below a folder.
#[derive(Default)]
struct Found {
    /// The data files, each as the parts of its path.
    files: Vec<Vec<String>>,
    /// The folders that `save_to_disk` wrote.
    saved: Vec<String>,
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

/// The split in a name such as `SPLIT-00000-of-00002.parquet`.
fn piece(name: &str) -> Option<&str> {
    let stem = name.split('.').next()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (split, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    // A fingerprint may follow the number of pieces.
    let count = count.split('-').next()?;
    (digits(number) && digits(count) && !split.is_empty()).then_some(split)
}

fn is_piece(name: &str) -> bool {
    piece(name).is_some()
}

/// The split that a path tells, given its parts, and the folders before the part that tells it.
fn split_of(parts: &[String]) -> Option<(String, &[String])> {
    let (file, folders) = parts.split_last()?;
    if let Some(split) = piece(file) {
        return Some((usual_name(split).to_owned(), folders));
    }
    let stem = file.split('.').next().unwrap_or_default();
    if let Some(split) = split_among_words(stem) {
        return Some((split.to_owned(), folders));
    }
    let mut places = (0..folders.len()).rev();
    places.find_map(|place| Some((split_among_words(&folders[place])?.to_owned(), &folders[..place])))
}

/// The usual split that a word of the name stands for.
fn split_among_words(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> = name
        .split(|character: char| !character.is_ascii_alphanumeric())
        .collect();
    let mut splits = SPLIT_NAMES.iter();
    let named = splits.find(|(_, names)| words.iter().any(|word| names.contains(word)));
    named.map(|&(split, _)| split)
}

/// The usual name of a split that has several names; other names stay.
pub(super) fn usual_name(split: &str) -> &str {
    let usual = SPLIT_NAMES.iter().find(|(_, names)| names.contains(&split));
    usual.map_or(split, |&(split, _)| split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_and_folders_tell_the_split() {
        for (path, expected) in [
            ("train-00000-of-00002.parquet", Some("train")),
            (
                "data/validation-00000-of-00001-a09b74b3ef9c3b56.parquet",
                Some("validation"),
            ),
            ("data/cot-00000-of-00001.parquet", Some("cot")),
            ("dev-00000-of-00001.parquet", Some("validation")),
            ("train_sft-00000-of-00001.parquet", Some("train_sft")),
            ("train.jsonl", Some("train")),
            ("my-data.train.jsonl.gz", None),
            ("gsm8k_Test_v2.jsonl", Some("test")),
            ("train/part-0.jsonl", Some("train")),
            ("train/more/part-0.jsonl", Some("train")),
            ("train/eval.jsonl", Some("test")),
            ("trainer.jsonl", None),
            ("part-00000-of-00002.parquet", Some("part")),
            ("part-0.parquet", None),
        ] {
            let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
            let split = split_of(&parts).map(|(split, _)| split);
            assert_eq!(split.as_deref(), expected, "{path}");
        }
    }
}
