//! The files that a pattern with `*`, `?` or `[…]` matches.
//!
//! Folders are listed here, and only names are matched by the library: a name need not be UTF-8, and neither need the folder that
//! a pattern is relative to. Bytes that are no text count as `�`, so a name with such bytes can match; then it is refused.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use glob::{MatchOptions, Pattern, PatternError};

use crate::{CorpusError, error::open_error};

/// How a name is matched: hidden files only if the pattern begins with a dot.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: true,
};

/// What the names of data files end with.
const DATA_ENDINGS: [&str; 7] = [".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".gz", ".zst"];

/// Whether the last part of a pattern matches the name of a file.
pub(crate) fn name_matches(pattern: &str, name: &str) -> bool {
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    last == "**" || Pattern::new(last).is_ok_and(|last| last.matches_with(name, OPTIONS))
}

/// What a pattern matches.
#[derive(Default)]
pub(crate) struct Matched {
    /// The regular files, sorted.
    pub(crate) files: Vec<PathBuf>,
    /// The folders in which no file matches, sorted.
    pub(crate) folders: Vec<PathBuf>,
}

/// One part of a pattern.
enum Part {
    /// The name itself.
    Name(String),
    /// All names that match.
    Like(Pattern),
    /// `**`: this folder and all folders below.
    Below,
}

/// Whether a pattern has special characters.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether the name of a folder is that of a data file, as Spark names the folders that it writes.
pub(crate) fn is_named_as_data(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    DATA_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// What `pattern` matches. It is relative to `base`, in which no character is special. `written` is what the user wrote.
///
/// # Errors
///
/// A pattern that is invalid, a match that is neither a file nor a folder or is named in bytes that are not UTF-8, and a folder
/// that cannot be listed.
pub(crate) fn matched(base: &Path, pattern: &str, written: &str) -> Result<Matched, CorpusError> {
    let (root, parts) = parts(pattern).map_err(|source| CorpusError::InvalidPattern {
        pattern: written.to_owned(),
        source,
    })?;
    let mut matched = Matched::default();
    if !pattern.ends_with(std::path::is_separator) {
        let start = root.map_or_else(|| base.to_owned(), |root| base.join(root));
        expand(&start, &parts, &mut Vec::new(), &mut matched)?;
    }
    let Matched { files, folders } = &mut matched;
    if let Some(path) = files
        .iter()
        .find(|path| !is_text(path.strip_prefix(base).unwrap_or(path)))
    {
        return Err(CorpusError::UnsupportedFile {
            path: path.clone(),
            what: "named in bytes that are not UTF-8".to_owned(),
        });
    }
    folders.retain(|folder| !files.iter().any(|file| file.starts_with(folder)));
    for paths in [files, folders] {
        paths.sort();
        paths.dedup();
    }
    Ok(matched)
}

fn is_text(path: &Path) -> bool {
    path.to_str().is_some()
}

/// The root of an absolute pattern, and its parts.
fn parts(pattern: &str) -> Result<(Option<PathBuf>, Vec<Part>), PatternError> {
    Pattern::new(pattern)?;
    let mut root: Option<PathBuf> = None;
    let mut parts = Vec::new();
    for component in Path::new(pattern).components() {
        let text = component.as_os_str().to_string_lossy();
        match component {
            Component::Prefix(_) | Component::RootDir => root.get_or_insert_default().push(component),
            Component::CurDir => {}
            _ if text == "**" => {
                if !matches!(parts.last(), Some(Part::Below)) {
                    parts.push(Part::Below);
                }
            }
            _ if is_pattern(&text) => parts.push(Part::Like(Pattern::new(&text)?)),
            _ => parts.push(Part::Name(text.into_owned())),
        }
    }
    Ok((root, parts))
}

/// Adds what `parts` match in `folder`. `above` are the folders from which links were followed on the way there.
fn expand(folder: &Path, parts: &[Part], above: &mut Vec<PathBuf>, matched: &mut Matched) -> Result<(), CorpusError> {
    let Some((part, rest)) = parts.split_first() else {
        return Ok(());
    };
    let found = |path: &Path, above: &mut Vec<PathBuf>, matched: &mut Matched| match rest {
        [] => add(path, matched),
        rest => expand(path, rest, above, matched),
    };
    match part {
        Part::Name(name) => {
            let path = folder.join(name);
            match fs::symlink_metadata(&path) {
                Ok(_) => found(&path, above, matched),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(open_error(&path, error)),
                Err(_) => Ok(()),
            }
        }
        Part::Like(pattern) => {
            for path in listed(folder)? {
                if pattern.matches_with(&name_of(&path), OPTIONS) {
                    found(&path, above, matched)?;
                }
            }
            Ok(())
        }
        // At the end, it matches only folders.
        Part::Below if rest.is_empty() => Ok(()),
        Part::Below => {
            expand(folder, rest, above, matched)?;
            for path in listed(folder)? {
                if name_of(&path).starts_with('.') || !is_folder(&path)? {
                    continue;
                }
                if !path.is_symlink() {
                    expand(&path, parts, above, matched)?;
                    continue;
                }
                // A link to a folder around it leads to nothing new.
                let real = |path: &Path| path.canonicalize().map_err(|error| open_error(path, error));
                let (here, target) = (real(here_or(folder))?, real(&path)?);
                above.push(here);
                if !above.iter().any(|folder| folder.starts_with(&target)) {
                    expand(&path, parts, above, matched)?;
                }
                above.pop();
            }
            Ok(())
        }
    }
}

/// Adds a path that the whole pattern matches.
fn add(path: &Path, matched: &mut Matched) -> Result<(), CorpusError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => matched.files.push(path.to_owned()),
        Ok(metadata) if metadata.is_dir() => matched.folders.push(path.to_owned()),
        Ok(_) => return Err(CorpusError::NotARegularFile { path: path.to_owned() }),
        Err(error) => return Err(open_error(path, error)),
    }
    Ok(())
}

/// The paths in a folder, sorted; none if it is no folder.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let failed = |error| open_error(folder, error);
    if !is_folder(here_or(folder))? {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(here_or(folder)).map_err(failed)? {
        paths.push(folder.join(entry.map_err(failed)?.file_name()));
    }
    paths.sort();
    Ok(paths)
}

/// Whether a path or the target of a link is a folder. Whatever is not there is none.
fn is_folder(path: &Path) -> Result<bool, CorpusError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(open_error(path, error)),
        Err(_) => Ok(false),
    }
}

fn here_or(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt as _, fs::symlink};

    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    fn folder(files: &[&[u8]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(std::ffi::OsStr::from_bytes(file));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn files(base: &Path, pattern: &str) -> Result<Vec<String>, CorpusError> {
        let name = |path: &PathBuf| path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
        Ok(matched(base, pattern, pattern)?.files.iter().map(name).collect())
    }

    #[test]
    fn names_that_are_not_utf_8_are_passed_over_or_refused_if_they_match() {
        let folder = folder(&[b"a.jsonl", b"notes-\xff.txt", b"b\xfe/c.jsonl", b"d/e.jsonl"]);
        assert_eq!(files(folder.path(), "*.jsonl").unwrap(), ["a.jsonl"]);
        assert_eq!(files(folder.path(), "d*/*.jsonl").unwrap(), ["d/e.jsonl"]);
        for pattern in ["*.txt", "b*/*.jsonl", "**/*.jsonl", "notes-?.txt"] {
            let error = files(folder.path(), pattern).unwrap_err();
            assert!(
                error.to_string().contains("named in bytes that are not UTF-8"),
                "{pattern}: {error}"
            );
            assert!(!error.is_unexpected() && error.hint().is_some());
        }
    }

    #[test]
    fn the_folder_of_the_pipeline_file_need_not_be_utf_8_and_no_character_of_it_is_special() {
        let folder = folder(&[b"p\xff [1]/a.jsonl", b"p\xff [1]/d/b.jsonl"]);
        let base = folder.path().join(std::ffi::OsStr::from_bytes(b"p\xff [1]"));
        assert_eq!(files(&base, "*.jsonl").unwrap(), ["a.jsonl"]);
        assert_eq!(files(&base, "./**/*.jsonl").unwrap(), ["a.jsonl", "d/b.jsonl"]);
        assert_eq!(files(&base, "d/../[a-z].jsonl").unwrap(), ["d/../a.jsonl"]);
    }

    #[test]
    fn links_in_a_circle_end_and_a_link_to_itself_is_refused() {
        let folder = folder(&[b"a/x.jsonl", b"b/y.jsonl", b".hidden/z.jsonl"]);
        for (target, link) in [
            ("..", "a/up"),
            ("../b", "a/b"),
            ("../a", "b/a"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, folder.path().join(link)).unwrap();
        }
        let found = files(folder.path(), "**/*.jsonl").unwrap();
        assert_eq!(found, ["a/b/y.jsonl", "a/x.jsonl", "b/a/x.jsonl", "b/y.jsonl"]);
        symlink("loop.jsonl", folder.path().join("loop.jsonl")).unwrap();
        assert_eq!(files(folder.path(), "*/x.jsonl").unwrap(), ["a/x.jsonl"]);
        let error = files(folder.path(), "*.jsonl").unwrap_err();
        assert!(
            error.to_string().contains("loop.jsonl") && !error.is_unexpected(),
            "{error}"
        );
    }

    #[test]
    fn folders_that_match_are_told_from_files_unless_files_in_them_match() {
        let folder = folder(&[b"a.jsonl", b"b.jsonl/part-0.jsonl", b"c/d.jsonl"]);
        let folders = |pattern| matched(folder.path(), pattern, pattern).unwrap().folders;
        assert_eq!(folders("*.jsonl"), [folder.path().join("b.jsonl")]);
        assert!(folders("**/*.jsonl").is_empty());
        assert_eq!(files(folder.path(), "*.jsonl/*").unwrap(), ["b.jsonl/part-0.jsonl"]);
        assert!(files(folder.path(), "*.jsonl/").unwrap().is_empty());
        assert!(files(folder.path(), "**").unwrap().is_empty());
    }
}
