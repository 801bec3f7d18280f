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
    DEFAULT_SPLIT,
    held::{Held, held},
    no_split, pieces,
    saved::is_saved,
    told::{Told, name_of_place, piece, split_among_words, usual_name},
};
use crate::{CorpusError, error::open_error, pattern::is_named_as_data};

/// The files that belong to the split by their names, sorted. `config` is the chosen configuration, if one is.
///
/// # Errors
///
/// A folder without data or without the split, several configurations of which none is chosen, one that is not there, files of
/// several kinds, a piece that is missing, and data of the split in a format that is not read.
pub(super) fn named_files(folder: &Path, config: Option<&str>, split: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let split = usual_name(split);
    let mut found = Found::default();
    walk(folder, &mut Vec::new(), &mut found)?;
    found.unread.sort();
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
    let unread = std::mem::take(&mut found.unread);
    let pieces_in_data = |file: &&Vec<String>| file.len() == 2 && file[0] == "data" && piece(&file[1]).is_some();
    let in_data: Vec<_> = found.files.iter().filter(pieces_in_data).cloned().collect();
    let mut files = if in_data.is_empty() { found.files } else { in_data };
    if files.is_empty() && config.is_none() {
        return Err(match unread.first() {
            Some((file, what)) => unsupported(folder, file, what),
            None => CorpusError::NoDataInFolder {
                path: folder.to_owned(),
            },
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
    let unread_of_split = |told: &Option<Told>| split_of(told).as_deref() == Some(split);
    let unread = unread.iter().map(|(file, what)| (file, what, Told::of(file)));
    let mut unread = unread.filter(|(_, _, told)| unread_of_split(told));
    if of_split.is_empty()
        && let Some((file, what, _)) = unread.next()
    {
        return Err(unsupported(folder, file, what));
    }
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
    let chosen = of_split.iter().zip(&configurations).filter(|(_, of)| is_chosen(of));
    let known_of = |told: &Option<Told>| told.as_ref().map(|told| told.configuration(false));
    let read: BTreeSet<Option<String>> = chosen.clone().map(|((_, told), _)| known_of(told)).collect();
    if let Some((file, what, _)) = unread.find(|(_, _, told)| read.contains(&None) || read.contains(&known_of(told))) {
        return Err(unsupported(folder, file, what));
    }
    let paths = chosen.map(|((file, _), _)| path_of(folder, file)).collect();
    pieces::checked(paths)
}

fn path_of(folder: &Path, parts: &[String]) -> PathBuf {
    parts.iter().fold(folder.to_owned(), |path, part| path.join(part))
}

fn unsupported(folder: &Path, file: &[String], what: &str) -> CorpusError {
    CorpusError::UnsupportedFile {
        path: path_of(folder, file),
        what: what.to_owned(),
    }
}

/// The configuration of each file; `None` for a file that tells no split.
///
/// Folders behind the split count if there are several: one of them, beside files that are in none, only holds more of the same.
fn configurations<'a>(told: impl Iterator<Item = Option<&'a Told>> + Clone) -> Vec<Option<String>> {
    let behind: BTreeSet<String> = told.clone().flatten().map(Told::behind).collect();
    let behind_counts = behind.iter().filter(|name| !name.is_empty()).count() > 1;
    told.map(|told| Some(told?.configuration(behind_counts))).collect()
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
    /// Files that look like data in a format that is not read, with what they are.
    unread: Vec<(Vec<String>, &'static str)>,
    /// The folders that `save_to_disk` wrote.
    saved: Vec<String>,
}

impl Found {
    /// How much was found.
    fn count(&self) -> usize {
        self.files.len() + self.unread.len() + self.saved.len()
    }

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
            if held(&path) == Held::Rows && path.is_file() {
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
                let before = found.count();
                walk(&path, parts, found)?;
                // A folder of this name was meant to hold rows.
                if is_named_as_data(&path) && found.count() == before {
                    return Err(CorpusError::NotAFile { path });
                }
            }
        } else {
            match held(&path) {
                Held::Rows => found.files.push(parts.clone()),
                Held::Unread(what) => found.unread.push((parts.clone(), what)),
                Held::Nothing => {}
            }
        }
        parts.pop();
    }
    Ok(())
}
