//! The Parquet files of folders that the user named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::ImportError;

/// How deep files are looked for that the user may have meant.
const DEPTH: usize = 4;

/// The Parquet files of a folder, `data_2` before `data_10`; none if there is no such folder.
///
/// # Errors
///
/// [`ImportError::Io`] if it cannot be listed.
pub(super) fn tables_in(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(ImportError::io("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(ImportError::io("list", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            found.push(path);
        }
    }
    found.sort_by_cached_key(|path| numbers_in(&path.file_name().unwrap_or_default().to_string_lossy()));
    Ok(found)
}

/// The first folder inside `folder` that has Parquet files, which the user may have meant.
///
/// # Errors
///
/// [`ImportError::Io`] if a folder cannot be listed.
pub(super) fn folder_with_tables(folder: &Path) -> Result<Option<PathBuf>, ImportError> {
    folder_within(folder, DEPTH)
}

/// The first folder inside `folder` that has Parquet files, at most so many folders deep.
fn folder_within(folder: &Path, depth: usize) -> Result<Option<PathBuf>, ImportError> {
    let mut inside = Vec::new();
    for entry in fs::read_dir(folder).map_err(ImportError::io("list", folder))? {
        let entry = entry.map_err(ImportError::io("list", folder))?;
        // Links are not followed.
        if entry.file_type().is_ok_and(|found| found.is_dir()) {
            inside.push(entry.path());
        }
    }
    inside.sort();
    for folder in inside {
        if !tables_in(&folder)?.is_empty() {
            return Ok(Some(folder));
        }
        if depth > 1
            && let Some(found) = folder_within(&folder, depth - 1)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A name as texts and the numbers between them, by which names are ordered.
fn numbers_in(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0u64)];
    for letter in name.chars() {
        match letter.to_digit(10) {
            Some(digit) => {
                if let Some((_, number)) = parts.last_mut() {
                    *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                }
            }
            None => match parts.last_mut() {
                Some((text, 0)) => text.push(letter),
                _ => parts.push((letter.to_string(), 0)),
            },
        }
    }
    parts
}
