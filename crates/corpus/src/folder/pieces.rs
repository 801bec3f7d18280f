//! Whether the files of a split belong together: they are of one kind, no piece is missing, and none is there twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{held::parts, told::piece};
use crate::{CorpusError, rows::FileKind};

/// The most numbers of pieces that are looked at.
const MOST_PIECES: u64 = 100_000;

/// The files of a folder, if they belong together.
///
/// # Errors
///
/// Files of several kinds, which probably hold the same rows, two versions of a piece, and a piece that is missing.
pub(super) fn checked(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, CorpusError> {
    let of_other_kind = |first: &PathBuf| files.iter().find(|file| FileKind::of(file) != FileKind::of(first));
    let pair = files.first().and_then(|first| Some((first, of_other_kind(first)?)));
    if let Some((first, second)) = pair.or_else(|| in_other_form(&files)) {
        return Err(CorpusError::MixedFolder {
            first: first.clone(),
            second: second.clone(),
        });
    }
    check_pieces(&files, |_| true)?;
    Ok(files)
}

/// Checks the files that a pattern matches. `would_match` says whether it matches a file of another name, too: a piece that it
/// would not is left out on purpose.
///
/// # Errors
///
/// A file that is there in two formats, two versions of a piece, and a piece that is missing.
pub(crate) fn check_matched(files: &[PathBuf], would_match: impl Fn(&str) -> bool) -> Result<(), CorpusError> {
    if let Some((first, second)) = in_other_form(files) {
        return Err(same_rows(first, second));
    }
    check_pieces(files, would_match)
}

fn same_rows(first: &Path, second: &Path) -> CorpusError {
    CorpusError::SameRows {
        first: first.to_owned(),
        second: second.to_owned(),
    }
}

/// Two files that differ only in the end that tells the format.
fn in_other_form(files: &[PathBuf]) -> Option<(&PathBuf, &PathBuf)> {
    let mut forms = BTreeMap::new();
    files.iter().find_map(|file| {
        let (stem, end) = form(file);
        let (known, first) = forms.entry(stem).or_insert_with(|| (end.clone(), file));
        (*known != end).then_some((*first, file))
    })
}

/// A path without the end that tells the format, and that end.
fn form(path: &Path) -> (PathBuf, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = parts(&name).0;
    (path.with_file_name(stem), name[stem.len()..].to_ascii_lowercase())
}

/// The pieces of a split in a folder, such as `train-00000-of-00003.parquet`.
struct Pieces<'a> {
    /// How many there are, as the first file's name writes it.
    count: String,
    /// The end of the first file's name.
    extension: String,
    /// The file of each number.
    files: BTreeMap<u64, &'a PathBuf>,
}

/// Checks that each piece is there once, among those that `may_be_there`. The first piece may be 0 or 1.
fn check_pieces(files: &[PathBuf], may_be_there: impl Fn(&str) -> bool) -> Result<(), CorpusError> {
    let mut all: BTreeMap<(PathBuf, String), Pieces> = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let Some((split, number, count)) = numbered(&name) else {
            continue;
        };
        let place = file.parent().unwrap_or(Path::new("")).to_owned();
        let pieces = all.entry((place, split.to_owned())).or_insert_with(|| Pieces {
            count: count.to_owned(),
            extension: parts(&name).1.to_owned(),
            files: BTreeMap::new(),
        });
        // A file of another count belongs to another version of all pieces.
        let other = match pieces.files.first_key_value() {
            Some((_, first)) if pieces.count != count => Some(*first),
            _ => pieces.files.insert(number, file),
        };
        if let Some(other) = other {
            return Err(same_rows(other, file));
        }
    }
    for (
        (place, split),
        Pieces {
            count,
            extension,
            files,
        },
    ) in all
    {
        let Ok(last) = count.parse::<u64>() else { continue };
        let numbers: BTreeSet<u64> = files.into_keys().collect();
        let first = u64::from(!numbers.contains(&0) && numbers.contains(&last));
        let missing = (first..last.saturating_add(first))
            .take_while(|number| *number < MOST_PIECES)
            .filter(|number| !numbers.contains(number))
            .map(|number| format!("{split}-{number:05}-of-{count}.{extension}"))
            .find(|name| may_be_there(name));
        if let Some(name) = missing {
            return Err(CorpusError::MissingPiece { path: place.join(name) });
        }
    }
    Ok(())
}

/// The split, the number and the count of pieces in a name; `None` if it is not that of a piece.
fn numbered(name: &str) -> Option<(&str, u64, &str)> {
    let split = piece(name)?;
    let (before, count) = name.split('.').next()?.rsplit_once("-of-")?;
    // A fingerprint may follow.
    Some((split, before[split.len() + 1..].parse().ok()?, count.split('-').next()?))
}
