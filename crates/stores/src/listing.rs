//! The files of a cache in a folder here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use leadspan_files::FileError;

use crate::{
    StoreError,
    names::{self, Kind},
};

/// A file of a cache in a folder here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalFile {
    pub(crate) kind: Kind,
    /// Its name in the cache, with `/` between its parts.
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

impl LocalFile {
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(&self.name)
    }
}

/// Calls `found` with the name and the type of everything in `dir` and in its folders, except what begins with a dot.
pub(crate) fn walk(dir: &Path, found: &mut dyn FnMut(String, &fs::Metadata)) -> Result<(), FileError> {
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = dir.join(&folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // It was removed meanwhile, or there is no cache yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FileError::io("list", path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(FileError::io("list", &path))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            // The type of a link is that of a link.
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(FileError::io("look at", entry.path())(error)),
            };
            let name = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            if metadata.is_dir() {
                folders.push(name);
            } else {
                found(name, &metadata);
            }
        }
    }
    Ok(())
}

/// The files of the cache in `dir`, in the order in which they are copied, and the names of other files.
///
/// A shard without a receipt is no file of the cache yet; nor is a part of the corpus without its description.
///
/// # Errors
///
/// [`StoreError::NotACache`] if there is no `identity.json`; [`StoreError::Missing`] if a receipt has no shard; the error of a folder that cannot be listed.
pub(crate) fn files(dir: &Path) -> Result<(Vec<LocalFile>, Vec<String>), StoreError> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    walk(dir, &mut |name, metadata| match Kind::of(&name) {
        Some(kind) => files.push(LocalFile {
            kind,
            name,
            bytes: metadata.len(),
        }),
        None => others.push(name),
    })?;
    if !files.iter().any(|file| file.name == names::IDENTITY) {
        return Err(StoreError::NotACache { path: dir.to_owned() });
    }
    let there: std::collections::HashSet<String> = files.iter().map(|file| file.name.clone()).collect();
    let has_no_shard = |file: &&LocalFile| file.kind == Kind::Receipt && !there.contains(&shard_of(&file.name));
    if let Some(receipt) = files.iter().find(has_no_shard) {
        return Err(StoreError::Missing {
            place: dir.join(shard_of(&receipt.name)).display().to_string(),
            why: ", and its receipt is there",
        });
    }
    files.retain(|file| match file.kind {
        Kind::Shard => there.contains(&receipt_of(&file.name)),
        Kind::Data => {
            let description = format!("prepared{}.json", names::part_of(&file.name));
            there.contains(&names::beside(&file.name, &description))
        }
        _ => true,
    });
    files.sort_by(|one, two| names::order(one.kind, &one.name).cmp(&names::order(two.kind, &two.name)));
    others.sort();
    Ok((files, others))
}

/// The name of a shard's receipt.
pub(crate) fn receipt_of(shard: &str) -> String {
    format!("{}.json", shard.strip_suffix(".parquet").unwrap_or(shard))
}

/// The name of a receipt's shard.
pub(crate) fn shard_of(receipt: &str) -> String {
    format!("{}.parquet", receipt.strip_suffix(".json").unwrap_or(receipt))
}
