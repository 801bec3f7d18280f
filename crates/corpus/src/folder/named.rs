//! Folders in which the names of files and folders tell the split.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{DEFAULT_SPLIT, no_split};
use crate::{CorpusError, error::open_error, rows::FileKind};

/// The usual splits, each with the names that stand for it.
const SPLIT_NAMES: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The files that belong to the split by their names, sorted.
pub(super) fn named_files(folder: &Path, split: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let split = usual_name(split);
    let mut found = Vec::new();
    walk(folder, &mut Vec::new(), &mut found)?;
    let pieces = |file: &&Vec<String>| file.len() == 2 && file[0] == "data" && is_piece(&file[1]);
    let in_data: Vec<_> = found.iter().filter(pieces).cloned().collect();
    let mut files = if in_data.is_empty() { found } else { in_data };
    if files.is_empty() {
        return Err(CorpusError::NoDataInFolder {
            path: folder.to_owned(),
        });
    }
    files.sort();
    let splits: Vec<Option<String>> = files.iter().map(|file| split_of(file)).collect();
    let default = || splits.iter().all(Option::is_none).then(|| DEFAULT_SPLIT.to_owned());
    let of = |named: &Option<String>| named.clone().or_else(default);
    let chosen: Vec<PathBuf> = files
        .iter()
        .zip(&splits)
        .filter(|(_, named)| of(named).as_deref() == Some(split))
        .map(|(file, _)| file.iter().fold(folder.to_owned(), |path, part| path.join(part)))
        .collect();
    let Some(first) = chosen.first() else {
        return Err(no_split(folder, split, splits.iter().filter_map(of)));
    };
    match chosen.iter().find(|file| FileKind::of(file) != FileKind::of(first)) {
        Some(second) => Err(CorpusError::MixedFolder {
            first: first.clone(),
            second: second.clone(),
        }),
        None => Ok(chosen),
    }
}

/// The most levels of folders that are searched: more than any data set has, and few enough to end if a link points to
/// a folder above.
const DEEPEST: usize = 8;

/// Adds the data files below `folder`, each as the parts of its path.
fn walk(folder: &Path, parts: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> Result<(), CorpusError> {
    let failed = |source| open_error(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // No data set has names that are not valid Unicode.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') || name.starts_with("__") {
            continue;
        }
        let path = entry.path();
        parts.push(name);
        // Links are followed, because the Hub's cache consists of them.
        if path.is_dir() {
            if parts.len() < DEEPEST {
                walk(&path, parts, found)?;
            }
        } else if is_data(&path) {
            found.push(parts.clone());
        }
        parts.pop();
    }
    Ok(())
}

/// Whether a file of that name holds rows.
fn is_data(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    FileKind::of(path) != FileKind::JsonLines
        || [".jsonl", ".jsonl.gz", ".jsonl.zst"]
            .iter()
            .any(|extension| name.ends_with(extension))
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

/// The split that a path tells, given its parts.
fn split_of(parts: &[String]) -> Option<String> {
    let (file, folders) = parts.split_last()?;
    if let Some(split) = piece(file) {
        return Some(usual_name(split).to_owned());
    }
    let stem = file.split('.').next().unwrap_or_default();
    let names = [stem].into_iter().chain(folders.iter().rev().map(String::as_str));
    names.into_iter().find_map(split_among_words).map(str::to_owned)
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
fn usual_name(split: &str) -> &str {
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
            assert_eq!(split_of(&parts).as_deref(), expected, "{path}");
        }
    }
}
