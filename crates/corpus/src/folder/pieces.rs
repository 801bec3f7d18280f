//! Whether the files of a split belong together: they are of one kind, and no piece is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{held::parts, told::piece};
use crate::{CorpusError, rows::FileKind};

/// The files, if they belong together.
///
/// # Errors
///
/// Files of several kinds, which probably hold the same rows, and a piece that is missing.
pub(super) fn checked(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, CorpusError> {
    let of_other_kind = |first: &PathBuf| files.iter().find(|file| FileKind::of(file) != FileKind::of(first));
    let in_other_form = || {
        let mut forms = BTreeMap::new();
        files.iter().find_map(|file| {
            let (stem, extension) = form(file);
            let (known, first) = forms.entry(stem).or_insert_with(|| (extension.clone(), file));
            (*known != extension).then_some((*first, file))
        })
    };
    let pair = files.first().and_then(|first| Some((first, of_other_kind(first)?)));
    if let Some((first, second)) = pair.or_else(in_other_form) {
        return Err(CorpusError::MixedFolder {
            first: first.clone(),
            second: second.clone(),
        });
    }
    match missing(&files) {
        Some(path) => Err(CorpusError::MissingPiece { path }),
        None => Ok(files),
    }
}

/// A path without the end that tells the format, and that end.
fn form(path: &Path) -> (PathBuf, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (stem, extension, _) = parts(&name);
    (path.with_file_name(stem), extension.to_ascii_lowercase())
}

/// The first piece that is not there of files such as `train-00000-of-00003.parquet`, before one that is. Later pieces may come
/// later, and are then appended. The first piece may be 0 or 1.
fn missing(files: &[PathBuf]) -> Option<PathBuf> {
    let mut numbers: BTreeMap<(PathBuf, String), BTreeSet<u64>> = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let Some(split) = piece(&name) else { continue };
        let stem = name.split('.').next().unwrap_or_default();
        let Some((before, count)) = stem.rsplit_once("-of-") else {
            continue;
        };
        let number = &before[split.len() + 1..];
        let count = count.split('-').next().unwrap_or_default();
        let Ok(number) = number.parse() else { continue };
        let (_, extension, _) = parts(&name);
        let all = format!("-of-{count}.{extension}");
        numbers
            .entry((file.with_file_name(split), all))
            .or_default()
            .insert(number);
    }
    numbers.into_iter().find_map(|((before, all), numbers)| {
        let count: u64 = all.strip_prefix("-of-")?.split('.').next()?.parse().ok()?;
        let first = u64::from(!numbers.contains(&0) && numbers.contains(&count));
        let number = (first..*numbers.last()?).find(|number| !numbers.contains(number))?;
        let split = before.file_name()?.to_string_lossy().into_owned();
        Some(before.with_file_name(format!("{split}-{number:05}{all}")))
    })
}
