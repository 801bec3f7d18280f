//! The built-in model family and its problems. They are part of the program, so that a quickstart needs only an empty folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use leadspan_files::{FileError, Refusal, commit_bytes, create_folder, read_regular, require_own_folder};

use super::QuickstartRefusal;
use crate::outputs::{obstacle, without_links};

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

/// Refuses what is no folder, and a folder with files of which none is of the family: somebody else made it.
///
/// # Errors
///
/// [`QuickstartRefusal::NoFolder`] and [`QuickstartRefusal::Foreign`].
pub(super) fn check(folder: &Path) -> Result<(), QuickstartRefusal> {
    let path = folder.to_owned();
    if let Some(what) = obstacle(&without_links(folder)) {
        return Err(QuickstartRefusal::NoFolder { path, what });
    }
    let is_there = |(name, content): &(&str, &[u8])| {
        read_regular(&folder.join(name), content.len() as u64).is_ok_and(|there| there == *content)
    };
    match first_file(folder) {
        Some(found) if !FAMILY.iter().any(is_there) => Err(QuickstartRefusal::Foreign { path, found }),
        _ => Ok(()),
    }
}

/// The first file in `folder` and its folders. Those whose names begin with a dot are left out: a quickstart that was killed leaves
/// temporary files.
fn first_file(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let shown = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let mut paths: Vec<PathBuf> = shown.map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        if is_own_folder(&path) {
            first_file(&path)
        } else {
            Some(path)
        }
    })
}

fn is_own_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// Whether a step has begun in `folder`.
pub(super) fn has_begun(folder: &Path) -> bool {
    MADE.iter().any(|name| folder.join(name).exists())
}

/// Writes the family into `folder`. Files that exist already are kept.
///
/// # Errors
///
/// If an existing file differs from the built-in one, or a file cannot be read or written.
pub(super) fn unpack(folder: &Path) -> Result<(), QuickstartRefusal> {
    for (name, content) in FAMILY {
        let path = folder.join(name);
        match read_regular(&path, content.len() as u64) {
            Ok(there) if there == *content => continue,
            Err(error) if Refusal::of(&error).is_some() => return Err(QuickstartRefusal::Changed { path }),
            Ok(_) => return Err(QuickstartRefusal::Changed { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::io("read", path)(error).into()),
        }
        create_folder(path.parent().unwrap_or(folder))?;
        commit_bytes(&path, content)?;
    }
    Ok(())
}

/// Removes the files of an earlier quickstart from `folder`, and then the folder if it is empty.
///
/// # Errors
///
/// If `folder` is a link or a file, before anything is removed; or if a file cannot be removed.
pub(super) fn remove(folder: &Path) -> Result<(), QuickstartRefusal> {
    if let Err(error) = require_own_folder(folder) {
        return Err(match Refusal::of(&error) {
            Some(Refusal::NotAFolder(what)) => QuickstartRefusal::NoFolder {
                path: folder.to_owned(),
                what: what.to_owned(),
            },
            _ => FileError::io("look at", folder)(error).into(),
        });
    }
    let family = FAMILY.iter().map(|(name, _)| name.split('/').next().unwrap_or(name));
    // The pipeline file is the last of the family and is removed first: without it, nothing here can be continued. The others go
    // last: they tell that the folder is a quickstart's.
    let (pipeline, others) = family.rev().partition::<Vec<_>, _>(|name| *name == "pipeline.toml");
    let names = pipeline.into_iter().chain(MADE.iter().copied()).chain(others);
    for path in names.map(|name| folder.join(name)) {
        removed(&path).map_err(FileError::io("remove", path))?;
    }
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(FileError::io("remove", folder)(error).into())
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
        assert!(matches!(check(&elsewhere), Err(QuickstartRefusal::Foreign { .. })));
        let refused = |what: &str| {
            let failure = crate::failure::Failure::from(remove(&folder).unwrap_err());
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

    #[test]
    fn what_a_killed_quickstart_leaves_is_its_own_and_the_files_of_others_are_not() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("quickstart");
        check(&folder).unwrap();
        // Killed while it wrote the first file.
        fs::create_dir_all(folder.join("teacher")).unwrap();
        fs::write(folder.join("teacher/.config.json.kill00.tmp"), "{").unwrap();
        check(&folder).unwrap();
        assert!(!has_begun(&folder));
        unpack(&folder).unwrap();
        fs::write(folder.join("pipeline.toml"), "changed").unwrap();
        fs::create_dir(folder.join("cache")).unwrap();
        check(&folder).unwrap();
        assert!(has_begun(&folder));
        // Killed while it removed the last file but one.
        for name in ["teacher", "base", "problems/hard.jsonl", "problems/known.jsonl"] {
            removed(&folder.join(name)).unwrap();
        }
        check(&folder).unwrap();
        removed(&folder.join("problems")).unwrap();
        let refused = check(&folder).unwrap_err();
        assert!(
            matches!(&refused, QuickstartRefusal::Foreign { found, .. } if found.ends_with("pipeline.toml")),
            "{refused}"
        );
    }
}
