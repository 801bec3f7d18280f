//! The built-in model family and its problems. They are part of the program, so that a quickstart needs only an empty folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use leadspan_files::{Refusal, commit_bytes, read_regular, require_own_folder};

use super::QuickstartRefusal;
use crate::failure::{Context as _, Result};

macro_rules! family {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/quickstart/", $file)))),*]
    };
}

/// The path of each file in the folder, and its content. `pipelines/quickstart/build.sh` makes the files.
const FAMILY: &[(&str, &[u8])] = family![
    "teacher/config.json",
    "teacher/generation_config.json",
    "teacher/model.safetensors",
    "teacher/tokenizer.json",
    "teacher/tokenizer_config.json",
    "base/config.json",
    "base/generation_config.json",
    "base/model.safetensors",
    "base/tokenizer.json",
    "base/tokenizer_config.json",
    "problems/hard.jsonl",
    "problems/known.jsonl",
    "problems/test.jsonl",
    "pipeline.toml",
];

/// The folders that the quickstart makes beside the family.
const MADE: &[&str] = &["cache", "runs", "teacher-answers", "report"];

/// Writes the family into `folder`. Files that exist already are kept.
///
/// # Errors
///
/// If an existing file differs from the built-in one, or a file cannot be read or written.
pub(super) fn unpack(folder: &Path) -> Result<()> {
    for (name, content) in FAMILY {
        let path = folder.join(name);
        match read_regular(&path, content.len() as u64) {
            Ok(there) if there == *content => continue,
            Err(error) if Refusal::of(&error).is_some() => return Err(QuickstartRefusal::Changed { path }.into()),
            Ok(_) => return Err(QuickstartRefusal::Changed { path }.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("could not read `{}`", path.display())),
        }
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("could not create `{}`", parent.display()))?;
        commit_bytes(&path, content)?;
    }
    Ok(())
}

/// Removes the files of an earlier quickstart from `folder`, and then the folder if it is empty.
///
/// # Errors
///
/// If `folder` is a link or a file, before anything is removed; or if a file cannot be removed.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match require_own_folder(folder).map_err(|error| (Refusal::of(&error), error)) {
        Err((Some(Refusal::NotAFolder(what)), _)) => {
            let path = folder.to_owned();
            return Err(QuickstartRefusal::NoFolder { path, what }.into());
        }
        Err((_, error)) => return Err(error).with_context(|| format!("could not look at `{}`", folder.display())),
        Ok(()) => {}
    }
    let family = FAMILY.iter().map(|(name, _)| name.split('/').next().unwrap_or(name));
    // The pipeline file is the last of the family and is removed first: without it, nothing here can be continued.
    let names = family.rev().chain(MADE.iter().copied());
    for path in names.map(|name| folder.join(name)) {
        removed(&path).with_context(|| format!("could not remove `{}`", path.display()))?;
    }
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(error).with_context(|| format!("could not remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

fn removed(path: &PathBuf) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(what) if what.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_or_a_file_in_place_of_the_folder_is_refused_before_anything_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (place.path().join("quickstart"), place.path().join("elsewhere"));
        fs::create_dir_all(elsewhere.join("cache")).unwrap();
        fs::write(elsewhere.join("pipeline.toml"), "mine").unwrap();
        let refused = |what: &str| {
            let failure = remove(&folder).unwrap_err();
            assert_eq!(failure.exit_code(), crate::exit_code::WRONG_INPUT);
            let shown = failure.described();
            assert!(shown.contains(&format!("quickstart` is {what}")), "{shown}");
        };
        std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
        refused("a symbolic link");
        assert_eq!(fs::read(elsewhere.join("pipeline.toml")).unwrap(), b"mine");
        assert!(elsewhere.join("cache").is_dir() && folder.is_symlink());
        fs::remove_file(&folder).unwrap();
        fs::write(&folder, "mine").unwrap();
        refused("a file");
        // A link inside goes, and what it leads to stays.
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(elsewhere.join("cache"), folder.join("cache")).unwrap();
        remove(&folder).unwrap();
        assert!(!folder.exists() && elsewhere.join("cache").is_dir());
    }
}
