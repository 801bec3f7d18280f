//! The files of a data set that is a folder: `data.path`.
//!
//! Two kinds are known. What `save_to_disk` of Hugging Face's datasets writes has a `state.json` that lists its Arrow
//! streams, and a `dataset_dict.json` above it where there are several splits. Any other folder, such as a clone from
//! the Hub, says by the names of its files and folders which split they belong to:
//!
//! 1. `data/SPLIT-00000-of-00002.parquet` and the like, where there are any: nothing else is looked at then;
//! 2. else every JSON-lines, Parquet or Arrow file in the folder and those inside it. The name of the file without its
//!    piece's number, or else of the nearest folder that says so, tells the split; where no name does, all is `train`.
//!
//! Hidden files and folders are passed over, and so are those whose names begin with two underscores.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{CorpusError, error::open_error, rows::FileKind};

/// The split that is read where none is named.
const DEFAULT_SPLIT: &str = "train";

/// The names by which the usual splits go.
const SPLIT_NAMES: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "val", "dev"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];

/// The files of a split of the data set in `folder`, sorted by name.
///
/// # Errors
///
/// A folder that is missing, has no data or not that split, or has files of several kinds in it.
pub(crate) fn folder_files(folder: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, CorpusError> {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(CorpusError::NotAFolder {
                path: folder.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CorpusError::MissingFolder {
                path: folder.to_owned(),
            });
        }
        Err(error) => return Err(open_error(folder, error)),
    }
    let split_name = split.unwrap_or(DEFAULT_SPLIT);
    if let Some(SavedSplits { splits }) = read_json(&folder.join("dataset_dict.json"))? {
        if !splits.iter().any(|known| known == split_name) {
            return Err(no_split(folder, split_name, splits));
        }
        return saved_files(&folder.join(split_name), None)?.ok_or_else(|| CorpusError::NoDataInFolder {
            path: folder.join(split_name),
        });
    }
    if let Some(files) = saved_files(folder, split)? {
        return Ok(files);
    }
    named_files(folder, split_name)
}

/// `dataset_dict.json`: several splits, each in a folder of its own.
#[derive(Deserialize)]
struct SavedSplits {
    splits: Vec<String>,
}

/// `state.json`: one split.
#[derive(Deserialize)]
struct SavedState {
    #[serde(rename = "_data_files")]
    data_files: Vec<SavedFile>,
    #[serde(rename = "_split")]
    split: Option<String>,
}

#[derive(Deserialize)]
struct SavedFile {
    filename: String,
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, CorpusError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open_error(path, error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| CorpusError::UnreadableFolderState {
            path: path.to_owned(),
            source,
        })
}

/// The streams of a folder that `save_to_disk` wrote; `None` where it did not.
fn saved_files(folder: &Path, split: Option<&str>) -> Result<Option<Vec<PathBuf>>, CorpusError> {
    let Some(SavedState {
        data_files,
        split: saved,
    }) = read_json(&folder.join("state.json"))?
    else {
        return Ok(None);
    };
    // One that does not say its name is whatever it is asked for.
    if let (Some(asked), Some(saved)) = (split, &saved)
        && asked != saved
    {
        return Err(no_split(folder, asked, vec![saved.clone()]));
    }
    if data_files.is_empty() {
        return Err(CorpusError::NoDataInFolder {
            path: folder.to_owned(),
        });
    }
    let mut files: Vec<PathBuf> = data_files.into_iter().map(|file| folder.join(file.filename)).collect();
    files.sort();
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(CorpusError::MissingFile { path: missing.clone() }),
        None => Ok(Some(files)),
    }
}

fn no_split(folder: &Path, split: &str, known: impl IntoIterator<Item = String>) -> CorpusError {
    let known: BTreeSet<String> = known.into_iter().collect();
    CorpusError::NoSuchSplit {
        path: folder.to_owned(),
        split: split.to_owned(),
        known: known.into_iter().collect(),
    }
}

/// The files whose names say that they belong to the split.
fn named_files(folder: &Path, split: &str) -> Result<Vec<PathBuf>, CorpusError> {
    let split = usual_name(split);
    let mut found = Vec::new();
    walk(folder, &mut Vec::new(), &mut found)?;
    let pieces = |file: &&Vec<String>| file.len() == 2 && file[0] == "data" && is_piece(&file[1]);
    let in_data: Vec<_> = found.iter().filter(pieces).cloned().collect();
    let mut files = if in_data.is_empty() { found } else { in_data };
    if files.is_empty() {
        return Err(CorpusError::NoDataInFolder {
            path: folder.to_owned(),
        });
    }
    files.sort();
    let splits: Vec<Option<String>> = files.iter().map(|file| split_of(file)).collect();
    let default = || splits.iter().all(Option::is_none).then(|| DEFAULT_SPLIT.to_owned());
    let of = |named: &Option<String>| named.clone().or_else(default);
    let chosen: Vec<PathBuf> = files
        .iter()
        .zip(&splits)
        .filter(|(_, named)| of(named).as_deref() == Some(split))
        .map(|(file, _)| file.iter().fold(folder.to_owned(), |path, part| path.join(part)))
        .collect();
    let Some(first) = chosen.first() else {
        return Err(no_split(folder, split, splits.iter().filter_map(of)));
    };
    match chosen.iter().find(|file| FileKind::of(file) != FileKind::of(first)) {
        Some(second) => Err(CorpusError::MixedFolder {
            first: first.clone(),
            second: second.clone(),
        }),
        None => Ok(chosen),
    }
}

/// How deep folders are looked into: deeper than any data set, less than a link to a folder above.
const DEEPEST: usize = 8;

/// Adds the data files below `folder`, each as the parts of its path.
fn walk(folder: &Path, parts: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> Result<(), CorpusError> {
    let failed = |source| open_error(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A name that is no text is nobody's data set.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') || name.starts_with("__") {
            continue;
        }
        let path = entry.path();
        parts.push(name);
        // Links count as what they point to: the Hub's cache is made of them.
        if path.is_dir() {
            if parts.len() < DEEPEST {
                walk(&path, parts, found)?;
            }
        } else if is_data(&path) {
            found.push(parts.clone());
        }
        parts.pop();
    }
    Ok(())
}

/// Whether the name is that of a file of rows.
fn is_data(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    FileKind::of(path) != FileKind::JsonLines
        || [".jsonl", ".jsonl.gz", ".jsonl.zst"]
            .iter()
            .any(|extension| name.ends_with(extension))
}

/// The split that `SPLIT-00000-of-00002.parquet` is a piece of.
fn piece(name: &str) -> Option<&str> {
    let stem = name.split('.').next()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (split, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    // A fingerprint may follow the number of pieces.
    let count = count.split('-').next()?;
    (digits(number) && digits(count) && !split.is_empty()).then_some(split)
}

fn is_piece(name: &str) -> bool {
    piece(name).is_some()
}

/// The split that the parts of a path name.
fn split_of(parts: &[String]) -> Option<String> {
    let (file, folders) = parts.split_last()?;
    if let Some(split) = piece(file) {
        return Some(usual_name(split).to_owned());
    }
    let stem = file.split('.').next().unwrap_or_default();
    let names = [stem].into_iter().chain(folders.iter().rev().map(String::as_str));
    names.into_iter().find_map(split_among_words).map(str::to_owned)
}

/// The usual split that one of the words of a name stands for.
fn split_among_words(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> = name
        .split(|character: char| !character.is_ascii_alphanumeric())
        .collect();
    let mut splits = SPLIT_NAMES.iter();
    let named = splits.find(|(_, names)| words.iter().any(|word| names.contains(word)));
    named.map(|&(split, _)| split)
}

/// The name of a split, where it goes by several.
fn usual_name(split: &str) -> &str {
    let usual = SPLIT_NAMES.iter().find(|(_, names)| names.contains(&split));
    usual.map_or(split, |&(split, _)| split)
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn names(folder: &Path, split: Option<&str>) -> Result<Vec<String>, String> {
        let files = folder_files(folder, split).map_err(|error| {
            assert!(!error.is_unexpected() && error.hint().is_some());
            error.to_string().replace(&format!("{}", folder.display()), "F")
        })?;
        Ok(files
            .iter()
            .map(|file| file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
            .collect())
    }

    #[test]
    fn names_of_files_and_folders_tell_the_split() {
        for (path, expected) in [
            ("train-00000-of-00002.parquet", Some("train")),
            (
                "data/validation-00000-of-00001-a09b74b3ef9c3b56.parquet",
                Some("validation"),
            ),
            ("data/cot-00000-of-00001.parquet", Some("cot")),
            ("dev-00000-of-00001.parquet", Some("validation")),
            ("train_sft-00000-of-00001.parquet", Some("train_sft")),
            ("train.jsonl", Some("train")),
            ("my-data.train.jsonl.gz", None),
            ("gsm8k_Test_v2.jsonl", Some("test")),
            ("train/part-0.jsonl", Some("train")),
            ("train/more/part-0.jsonl", Some("train")),
            ("train/eval.jsonl", Some("test")),
            ("trainer.jsonl", None),
            ("part-00000-of-00002.parquet", Some("part")),
            ("part-0.parquet", None),
        ] {
            let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
            assert_eq!(split_of(&parts).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_clone_from_the_hub_has_its_splits_in_pieces() {
        let folder = folder(&[
            "data/train-00001-of-00002.parquet",
            "data/train-00000-of-00002.parquet",
            "data/test-00000-of-00001.parquet",
            "metadata/train-00000-of-00001.parquet",
            "README.md",
            "dataset_infos.json",
            ".cache/train.jsonl",
            "__MACOSX/train.jsonl",
        ]);
        let train = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
        assert_eq!(names(folder.path(), None).unwrap(), train);
        assert_eq!(names(folder.path(), Some("train")).unwrap(), train);
        let test = ["data/test-00000-of-00001.parquet"];
        assert_eq!(names(folder.path(), Some("test")).unwrap(), test);
        // A configuration of its own is a folder of its own.
        let metadata = names(&folder.path().join("metadata"), None).unwrap();
        assert_eq!(metadata, ["train-00000-of-00001.parquet"]);
        assert_eq!(
            names(folder.path(), Some("dev")).unwrap_err(),
            "`F` has no split `validation`: it has `test` and `train`"
        );
    }

    #[test]
    fn files_that_name_no_split_are_training_data_unless_others_do() {
        let plain = folder(&["b.jsonl.zst", "a/z.jsonl", "a.JSONL", "notes.txt"]);
        assert_eq!(
            names(plain.path(), None).unwrap(),
            ["a/z.jsonl", "a.JSONL", "b.jsonl.zst"]
        );
        assert_eq!(
            names(plain.path(), Some("test")).unwrap_err(),
            "`F` has no split `test`: it has `train`"
        );
        let named = folder(&["train.jsonl", "valid.jsonl", "other.jsonl"]);
        assert_eq!(names(named.path(), None).unwrap(), ["train.jsonl"]);
        assert_eq!(names(named.path(), Some("val")).unwrap(), ["valid.jsonl"]);
    }

    #[test]
    fn a_folder_without_data_or_with_several_kinds_is_refused() {
        assert_eq!(
            names(folder(&["README.md", "a.json"]).path(), None).unwrap_err(),
            "`F` has no JSON-lines, Parquet or Arrow files"
        );
        let mixed = folder(&["train.jsonl", "train.parquet", "test.parquet"]);
        assert_eq!(
            names(mixed.path(), None).unwrap_err(),
            "`F/train.jsonl` and `F/train.parquet` are of different kinds"
        );
        assert_eq!(names(mixed.path(), Some("test")).unwrap(), ["test.parquet"]);
        assert!(matches!(
            folder_files(&mixed.path().join("absent"), None),
            Err(CorpusError::MissingFolder { .. })
        ));
        assert!(matches!(
            folder_files(&mixed.path().join("train.jsonl"), None),
            Err(CorpusError::NotAFolder { .. })
        ));
    }

    #[test]
    fn what_save_to_disk_writes_is_read_by_its_list_of_files() {
        let folder = folder(&[
            "train/data-00000-of-00002.arrow",
            "train/data-00001-of-00002.arrow",
            "train/cache-1.arrow",
        ]);
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("dataset_dict.json", r#"{"splits": ["train", "test"]}"#);
        write(
            "train/state.json",
            r#"{"_data_files": [{"filename": "data-00000-of-00002.arrow"}, {"filename": "data-00001-of-00002.arrow"}],
                "_fingerprint": "0", "_split": null}"#,
        );
        let pieces = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"];
        assert_eq!(names(&folder.path().join("train"), None).unwrap(), pieces);
        assert_eq!(
            names(folder.path(), None).unwrap(),
            pieces.map(|piece| format!("train/{piece}"))
        );
        assert_eq!(
            names(folder.path(), Some("dev")).unwrap_err(),
            "`F` has no split `dev`: it has `test` and `train`"
        );
        assert_eq!(
            names(folder.path(), Some("test")).unwrap_err(),
            "`F/test` has no JSON-lines, Parquet or Arrow files"
        );
        fs::remove_file(folder.path().join("train/data-00001-of-00002.arrow")).unwrap();
        assert_eq!(
            names(folder.path(), None).unwrap_err(),
            "there is no file `F/train/data-00001-of-00002.arrow`"
        );
        write("train/state.json", r#"{"_data_files": 1}"#);
        assert_eq!(
            names(folder.path(), None).unwrap_err(),
            "`F/train/state.json` cannot be read"
        );
    }
}
