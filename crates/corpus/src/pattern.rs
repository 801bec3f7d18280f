//! The files that a pattern with `*`, `?` or `[…]` matches.

use std::{fs, path::PathBuf};

use crate::{CorpusError, error::open_error};

/// The regular files that a whole path with special characters matches, sorted. Folders are left out. `pattern` is what the
/// user wrote.
///
/// # Errors
///
/// A pattern that is invalid, and a match that is neither a file nor a folder.
pub(crate) fn files_of_pattern(rooted: &str, pattern: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        ..glob::MatchOptions::default()
    };
    let found = glob::glob_with(rooted, options).map_err(|source| CorpusError::InvalidPattern {
        pattern: pattern.to_owned(),
        source,
    })?;
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|error| {
            let at = error.path().to_owned();
            open_error(&at, error.into())
        })?;
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => paths.push(path),
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(CorpusError::NotARegularFile { path }),
            Err(error) => return Err(open_error(&path, error)),
        }
    }
    Ok(paths)
}
