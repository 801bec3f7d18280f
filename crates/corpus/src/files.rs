//! The files that a corpus is read from: which they are, their names in messages, and fingerprints to tell whether they
//! changed.

use std::{
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    CorpusError, DataSettings,
    error::open_error,
    folder::{check_matched, folder_files},
    pattern::{is_named_as_data, is_pattern, matched, name_matches},
};

/// The files that the settings name, sorted, each once.
///
/// Paths are relative to `base`. A pattern of `data.files` that is the name of an existing file means that file, even
/// if it contains special characters of patterns. `*` matches no hidden file. If `data.path` names a folder, the files
/// are those of its configuration and split; the folder is a clone from Hugging Face's Hub or written by `save_to_disk`.
///
/// # Errors
///
/// A pattern that is invalid, matches no file, or matches a folder, a pipe, a device or a link that leads nowhere; a file or folder
/// that is missing; a file in place of a folder, or the reverse; a folder that lacks the configuration or the split, has several
/// configurations of which none is chosen, or has the split in several kinds of files.
pub fn input_files(base: &Path, data: &DataSettings) -> Result<Vec<PathBuf>, CorpusError> {
    match &data.path {
        Some(path) => folder_files(&base.join(path), data.config.as_deref(), data.split.as_deref()),
        None => matching_files(base, &data.files),
    }
}

/// The files that patterns such as those of `data.files` match, sorted, each once.
///
/// # Errors
///
/// Those of [`input_files`] that concern patterns and files, and a pattern that matches two versions of a file, or not all of the
/// pieces that it would match, such as `train-00001-of-00003.parquet`.
pub fn matching_files(base: &Path, patterns: &[String]) -> Result<Vec<PathBuf>, CorpusError> {
    let mut files: Vec<(String, PathBuf, PathBuf)> = Vec::new();
    for pattern in patterns {
        for path in matches(base, pattern)? {
            let canonical = path.canonicalize().map_err(|source| open_error(&path, source))?;
            files.push((name_of(base, &path), path, canonical));
        }
    }
    files.sort();
    let mut unique: Vec<(PathBuf, PathBuf)> = Vec::with_capacity(files.len());
    for (_, path, canonical) in files {
        if !unique.iter().any(|(_, known)| *known == canonical) {
            unique.push((path, canonical));
        }
    }
    Ok(unique.into_iter().map(|(path, _)| path).collect())
}

fn matches(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let literal = base.join(pattern);
    match fs::metadata(&literal) {
        Ok(metadata) if metadata.is_file() => return Ok(vec![literal]),
        Ok(metadata) if metadata.is_dir() => return Err(CorpusError::NotAFile { path: literal }),
        Ok(_) => return Err(CorpusError::NotARegularFile { path: literal }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(open_error(&literal, error)),
        Err(error) if !is_pattern(pattern) => return Err(not_found(&literal, error)),
        Err(_) => {}
    }
    let found = matched(base, pattern, pattern)?;
    // Everything in a folder may be meant with `*`. Whoever wrote more meant files.
    let is_all = pattern
        .rsplit('/')
        .next()
        .is_some_and(|last| last.trim_matches('*').is_empty());
    if let Some(path) = found.folders.into_iter().find(|path| !is_all || is_named_as_data(path)) {
        return Err(CorpusError::NotAFile { path });
    }
    if found.files.is_empty() {
        return Err(CorpusError::NoMatch {
            pattern: pattern.to_owned(),
            base: base.to_owned(),
        });
    }
    check_matched(&found.files, |name| name_matches(pattern, name))?;
    Ok(found.files)
}

/// The error of a file that cannot be looked at: a link that leads to itself is no missing file.
fn not_found(path: &Path, error: io::Error) -> CorpusError {
    match open_error(path, error) {
        error @ CorpusError::NotARegularFile { .. } => error,
        _ => CorpusError::MissingFile { path: path.to_owned() },
    }
}

/// The name of a file in ids and messages: its path relative to `base`, with `/` between the parts. A file outside
/// `base` keeps its own path.
pub fn name_of(base: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(base).unwrap_or(path);
    let parts: PathBuf = relative
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let name = parts.to_string_lossy();
    if cfg!(windows) {
        name.replace('\\', "/")
    } else {
        name.into_owned()
    }
}

/// A file's name, size and hash, to tell later whether the data changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    /// The file's path relative to the base directory.
    pub path: String,
    /// Its size on disk.
    pub bytes: u64,
    /// BLAKE3 of its bytes on disk, in hexadecimal.
    pub blake3: String,
}

/// The fingerprints of `files`, in their order.
///
/// # Errors
///
/// A file that is missing or cannot be read.
pub fn files_fingerprint(base: &Path, files: &[PathBuf]) -> Result<Vec<FileFingerprint>, CorpusError> {
    files
        .iter()
        .map(|path| fingerprint(base, path).map_err(|source| open_error(path, source)))
        .collect()
}

fn fingerprint(base: &Path, path: &Path) -> io::Result<FileFingerprint> {
    let mut file = leadspan_files::open_regular(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(FileFingerprint {
        path: name_of(base, path),
        bytes,
        blake3: hasher.finalize().to_hex().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        directory
    }

    fn names(base: &Path, patterns: &[&str]) -> Result<Vec<String>, CorpusError> {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Ok(matching_files(base, &patterns)?
            .iter()
            .map(|path| name_of(base, path))
            .collect())
    }

    #[test]
    fn patterns_are_expanded_sorted_and_freed_of_repetitions() {
        let directory = directory(&["b.jsonl", "a.jsonl", "data/c.jsonl", ".hidden.jsonl", "a.txt"]);
        let base = directory.path();
        assert_eq!(names(base, &["*.jsonl"]).unwrap(), ["a.jsonl", "b.jsonl"]);
        let all = ["data/*.jsonl", "b.jsonl", "./b.jsonl", "*.jsonl", "data/../a.jsonl"];
        assert_eq!(names(base, &all).unwrap(), ["a.jsonl", "b.jsonl", "data/c.jsonl"]);
        assert_eq!(
            names(base, &["**/*.jsonl"]).unwrap(),
            ["a.jsonl", "b.jsonl", "data/c.jsonl"]
        );
        let absolute = base.join("a.jsonl").to_str().unwrap().to_owned();
        assert_eq!(names(base, &[&absolute]).unwrap(), ["a.jsonl"]);
    }

    #[test]
    fn brackets_in_a_file_or_directory_name_are_taken_literally_where_they_exist() {
        let directory = directory(&["run [1]/part[2].jsonl"]);
        let base = directory.path().join("run [1]");
        assert_eq!(names(&base, &["part[2].jsonl"]).unwrap(), ["part[2].jsonl"]);
        assert_eq!(names(&base, &["*.jsonl"]).unwrap(), ["part[2].jsonl"]);
    }

    #[test]
    fn a_folder_that_matches_is_refused_like_one_that_is_named() {
        let directory = directory(&["a.jsonl", "b.jsonl/part-0.jsonl", "c/d.jsonl"]);
        let base = directory.path();
        for pattern in ["*.jsonl", "b.jsonl", "*", "[ab].jsonl"] {
            let error = names(base, &[pattern]).unwrap_err();
            assert!(
                matches!(&error, CorpusError::NotAFile { path } if path.ends_with("b.jsonl")),
                "{pattern}: {error}"
            );
        }
        assert_eq!(names(base, &["**/*.jsonl"]).unwrap().len(), 3);
        assert_eq!(names(base, &["*.jsonl/*"]).unwrap(), ["b.jsonl/part-0.jsonl"]);
        fs::remove_dir_all(base.join("b.jsonl")).unwrap();
        // Everything beside a folder.
        assert_eq!(names(base, &["*"]).unwrap(), ["a.jsonl"]);
    }

    #[test]
    fn the_hint_for_a_pattern_without_a_match_explains_brackets() {
        use leadspan_diagnosis::Diagnosis as _;

        let directory = directory(&["d[x]/a.jsonl"]);
        let hint = |pattern| names(directory.path(), &[pattern]).unwrap_err().hint().unwrap();
        assert!(hint("d[x]/*.jsonl").contains("`[[]`"));
        assert!(!hint("e/*.jsonl").contains("[[]"));
        assert_eq!(names(directory.path(), &["d[[]x]/*.jsonl"]).unwrap(), ["d[x]/a.jsonl"]);
    }

    #[test]
    fn what_cannot_be_found_is_named() {
        let directory = directory(&["data/a.jsonl"]);
        let base = directory.path();
        assert!(
            matches!(names(base, &["b.jsonl"]), Err(CorpusError::MissingFile { path }) if path.ends_with("b.jsonl"))
        );
        assert!(matches!(names(base, &["*.zst"]), Err(CorpusError::NoMatch { pattern, .. }) if pattern == "*.zst"));
        assert!(matches!(names(base, &["data"]), Err(CorpusError::NotAFile { path }) if path.ends_with("data")));
        assert!(matches!(
            names(base, &["a[.jsonl"]),
            Err(CorpusError::InvalidPattern { .. })
        ));
    }

    #[test]
    fn a_pattern_matches_each_piece_of_a_data_set_once() {
        let directory = directory(&[
            "a/train-00000-of-00003.parquet",
            "a/train-00001-of-00003.parquet",
            "b/train-00000-of-00001.parquet",
            "b/train-00000-of-00002.parquet",
            "b/train-00001-of-00002.parquet",
            "c/train-00000-of-00001.jsonl",
            "c/train-00000-of-00001.parquet",
            "d/train-00000-of-00001-0a.parquet",
            "d/train-00000-of-00001-0b.parquet",
            "e/rows.jsonl",
            "e/rows.jsonl.gz",
        ]);
        let base = directory.path();
        let error = |pattern: &str| {
            let error = names(base, &[pattern]).unwrap_err().to_string();
            error.replace(base.to_str().unwrap(), "B")
        };
        let missing = "there is no `B/a/train-00002-of-00003.parquet`, which the names of the other pieces count";
        assert_eq!(error("a/*.parquet"), missing);
        assert_eq!(error("**/train-*-of-00003.parquet"), missing);
        // Whoever names pieces means them.
        for partial in ["a/train-0000[01]-of-00003.parquet", "a/train-00001-of-00003.parquet"] {
            assert!(names(base, &[partial]).is_ok(), "{partial}");
        }
        for (pattern, first, second) in [
            (
                "b/*",
                "b/train-00000-of-00001.parquet",
                "b/train-00000-of-00002.parquet",
            ),
            ("c/*", "c/train-00000-of-00001.jsonl", "c/train-00000-of-00001.parquet"),
            (
                "d/*",
                "d/train-00000-of-00001-0a.parquet",
                "d/train-00000-of-00001-0b.parquet",
            ),
            ("e/*", "e/rows.jsonl", "e/rows.jsonl.gz"),
        ] {
            let expected = format!("`B/{first}` and `B/{second}` probably hold the same rows, by their names");
            assert_eq!(error(pattern), expected);
        }
        assert_eq!(names(base, &["b/*-of-00002.parquet"]).unwrap().len(), 2);
        assert_eq!(names(base, &["e/rows.jsonl", "e/rows.jsonl.gz"]).unwrap().len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_taken_for_a_missing_file() {
        let directory = directory(&["a.jsonl"]);
        std::os::unix::fs::symlink("/dev/zero", directory.path().join("zero.jsonl")).unwrap();
        let error = names(directory.path(), &["zero.jsonl"]).unwrap_err();
        assert!(
            matches!(&error, CorpusError::NotARegularFile { path } if path.ends_with("zero.jsonl")),
            "{error}"
        );
        std::os::unix::fs::symlink("loop", directory.path().join("loop")).unwrap();
        assert!(matches!(
            names(directory.path(), &["loop"]),
            Err(CorpusError::NotARegularFile { .. })
        ));
        // A pattern does not pass over it either, nor over a link that leads nowhere.
        assert!(matches!(
            names(directory.path(), &["*.jsonl"]),
            Err(CorpusError::NotARegularFile { .. })
        ));
        let fingerprint = files_fingerprint(directory.path(), &[directory.path().join("zero.jsonl")]);
        assert!(matches!(fingerprint, Err(CorpusError::NotARegularFile { .. })));
        fs::remove_file(directory.path().join("zero.jsonl")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("link.jsonl")).unwrap();
        assert!(matches!(
            names(directory.path(), &["*.jsonl"]),
            Err(CorpusError::MissingFile { .. })
        ));
    }

    #[test]
    fn a_fingerprint_changes_with_one_byte() {
        let directory = directory(&["a.jsonl"]);
        let base = directory.path();
        let files = matching_files(base, &["a.jsonl".into()]).unwrap();
        let before = files_fingerprint(base, &files).unwrap();
        assert_eq!((before[0].path.as_str(), before[0].bytes), ("a.jsonl", 7));
        assert_eq!(before[0].blake3, blake3::hash(b"a.jsonl").to_hex().to_string());
        fs::write(&files[0], "A.jsonl").unwrap();
        assert_ne!(files_fingerprint(base, &files).unwrap(), before);
        fs::remove_file(&files[0]).unwrap();
        assert!(matches!(
            files_fingerprint(base, &files),
            Err(CorpusError::MissingFile { .. })
        ));
    }
}
