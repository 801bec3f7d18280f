//! The files of a data set that is a folder: `data.path`.
//!
//! There are two kinds. A folder that `save_to_disk` of Hugging Face's datasets wrote has a `state.json` that lists its
//! Arrow streams; if it has several splits, there is a `dataset_dict.json` above. In any other folder, such as a clone
//! from the Hub, the names of files and folders tell the split:
//!
//! 1. If there are files such as `data/SPLIT-00000-of-00002.parquet`, only those count.
//! 2. Otherwise every JSON-lines, Parquet or Arrow file in the folder and its subfolders counts. The split is in the
//!    file's name before the number of the piece, or else in the name of the nearest folder that has one. If no name
//!    tells a split, all files are `train`.
//!
//! Hidden files and folders are skipped, and so are names that begin with two underscores.

mod named;
mod saved;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use self::{
    named::named_files,
    saved::{saved_files, saved_splits},
};
use crate::{CorpusError, error::open_error};

/// The split that is read if none is named.
const DEFAULT_SPLIT: &str = "train";

/// The files of a split of the data set in `folder`, sorted by name.
///
/// # Errors
///
/// A folder that is missing, has no data, lacks the split, or has it in files of several kinds.
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
    if let Some(splits) = saved_splits(folder)? {
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

fn no_split(folder: &Path, split: &str, known: impl IntoIterator<Item = String>) -> CorpusError {
    let known: BTreeSet<String> = known.into_iter().collect();
    CorpusError::NoSuchSplit {
        path: folder.to_owned(),
        split: split.to_owned(),
        known: known.into_iter().collect(),
    }
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
        // Another configuration is in another folder.
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
        // It may not name files outside its folder.
        fs::write(folder.path().join("outside.arrow"), "").unwrap();
        let inside = folder.path().join("train/data-00000-of-00002.arrow");
        for name in [
            "../outside.arrow",
            "..",
            "",
            inside.to_str().unwrap(),
            "./data-00000-of-00002.arrow",
        ] {
            let text = format!(r#"{{"_data_files": [{{"filename": "{name}"}}]}}"#);
            write("train/state.json", &text);
            assert_eq!(
                names(folder.path(), None).unwrap_err(),
                "`F/train/state.json` cannot be read",
                "{name}"
            );
        }
    }
}
