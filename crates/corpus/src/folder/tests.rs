//! Data sets in folders of empty files.

use leadspan_diagnosis::Diagnosis as _;

use super::*;

pub(super) fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    folder
}

pub(super) fn names(folder: &Path, split: Option<&str>) -> Result<Vec<String>, String> {
    names_of(folder, None, split)
}

pub(super) fn names_of(folder: &Path, config: Option<&str>, split: Option<&str>) -> Result<Vec<String>, String> {
    let files = folder_files(folder, config, split).map_err(|error| {
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
        "`F` has no JSON, Parquet or Arrow files with rows"
    );
    let mixed = folder(&["train.jsonl", "train.parquet", "test.parquet"]);
    assert_eq!(
        names(mixed.path(), None).unwrap_err(),
        "`F/train.jsonl` and `F/train.parquet` are of different kinds"
    );
    assert_eq!(names(mixed.path(), Some("test")).unwrap(), ["test.parquet"]);
    assert!(matches!(
        folder_files(&mixed.path().join("absent"), None, None),
        Err(CorpusError::MissingFolder { .. })
    ));
    assert!(matches!(
        folder_files(&mixed.path().join("train.jsonl"), None, None),
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
        "`F/test` has no JSON, Parquet or Arrow files with rows"
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

#[test]
fn the_configurations_of_a_readme_name_the_files_of_a_split() {
    let folder = folder(&[
        "main/train-00000-of-00001.parquet",
        "main/test-00000-of-00001.parquet",
        "socratic/train-00000-of-00001.parquet",
        "socratic/test-00000-of-00001.parquet",
        "more/deep/a.jsonl",
        "more/b.jsonl",
    ]);
    let readme = |more: &str| {
        let config = |name: &str| {
            format!(
                "- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*\n  - split: test\n    path: {name}/test-*\n"
            )
        };
        let text = format!(
            "---\nconfigs:\n{}{}{more}---\n# A data set\n",
            config("main"),
            config("socratic")
        );
        fs::write(folder.path().join("README.md"), text).unwrap();
    };
    let several = "`F` has several configurations: `main` and `socratic`";
    // Without a list, each folder is a configuration.
    assert_eq!(names(folder.path(), None).unwrap_err(), several);
    readme("");
    assert_eq!(names(folder.path(), None).unwrap_err(), several);
    let train = ["socratic/train-00000-of-00001.parquet"];
    assert_eq!(names_of(folder.path(), Some("socratic"), None).unwrap(), train);
    let test = ["main/test-00000-of-00001.parquet"];
    assert_eq!(names_of(folder.path(), Some("main"), Some("test")).unwrap(), test);
    assert_eq!(
        names_of(folder.path(), Some("Main"), None).unwrap_err(),
        "`F` has no configuration `Main`: it has `main` and `socratic`"
    );
    assert_eq!(
        names_of(folder.path(), Some("main"), Some("dev")).unwrap_err(),
        "`F` has no split `dev`: it has `test` and `train`"
    );
    // The author says which is meant.
    readme("- config_name: more\n  data_files: \"more/**\"\n  default: true\n");
    assert_eq!(
        names(folder.path(), None).unwrap(),
        ["more/b.jsonl", "more/deep/a.jsonl"]
    );
    readme("- config_name: default\n  data_dir: main\n");
    assert_eq!(names(folder.path(), Some("test")).unwrap(), test);
    for (files, expected) in [
        (
            "[more/b.jsonl, main/train-*]",
            "`F/main/train-00000-of-00001.parquet` and `F/more/b.jsonl` are of different kinds",
        ),
        ("lost/*", "no file in `F` matches `lost/*`, which its README.md names"),
        (
            "../*.jsonl",
            "the list of configurations in `F/README.md` cannot be read: `../*.jsonl` is not a file inside the folder",
        ),
        (
            "/etc/*",
            "the list of configurations in `F/README.md` cannot be read: `/etc/*` is not a file inside the folder",
        ),
        (
            "\"hf://x/y\"",
            "the list of configurations in `F/README.md` cannot be read: `hf://x/y` is not a file inside the folder",
        ),
        (
            "*x",
            "the list of configurations in `F/README.md` cannot be read: line 16: such values are not read here",
        ),
    ] {
        readme(&format!("- config_name: x\n  data_files: {files}\n"));
        assert_eq!(
            names_of(folder.path(), Some("x"), None).unwrap_err(),
            expected,
            "{files}"
        );
    }
}

#[test]
fn folders_that_each_have_the_split_are_configurations() {
    let several = |files: &[&str]| names(folder(files).path(), None).unwrap_err();
    assert_eq!(
        several(&["all/train.jsonl", "math/train.jsonl"]),
        "`F` has several configurations: `all` and `math`"
    );
    assert_eq!(
        several(&["a/train/0.jsonl", "b/train/0.jsonl"]),
        "`F` has several configurations: `a` and `b`"
    );
    assert_eq!(
        several(&["train.jsonl", "old/train.jsonl"]),
        "`F` has several configurations: `.` and `old`"
    );
    let one = folder(&[
        "all/train.jsonl",
        "math/train.jsonl",
        "math/test.jsonl",
        "x/train/0.jsonl",
        "x/train/more/1.jsonl",
    ]);
    assert_eq!(names_of(one.path(), Some("math"), None).unwrap(), ["math/train.jsonl"]);
    assert_eq!(
        names_of(one.path(), Some("x"), None).unwrap(),
        ["x/train/0.jsonl", "x/train/more/1.jsonl"]
    );
    // Only one folder has this split.
    assert_eq!(names(one.path(), Some("test")).unwrap(), ["math/test.jsonl"]);
    for config in ["none", "..", "x/train"] {
        assert_eq!(
            names_of(one.path(), Some(config), None).unwrap_err(),
            format!("`F` has no configuration `{config}`: it has `all`, `math` and `x`")
        );
    }
}

#[test]
fn saved_data_sets_side_by_side_are_configurations() {
    let folder = folder(&["main/data-0.arrow", "main/cache-1.arrow", "socratic/data-0.arrow"]);
    for name in ["main", "socratic"] {
        let state = r#"{"_data_files": [{"filename": "data-0.arrow"}], "_split": null}"#;
        fs::write(folder.path().join(name).join("state.json"), state).unwrap();
    }
    assert_eq!(
        names(folder.path(), None).unwrap_err(),
        "`F` has several configurations: `main` and `socratic`"
    );
    assert_eq!(
        names_of(folder.path(), Some("main"), None).unwrap(),
        ["main/data-0.arrow"]
    );
    fs::remove_dir_all(folder.path().join("socratic")).unwrap();
    assert_eq!(names(folder.path(), None).unwrap(), ["main/data-0.arrow"]);
    fs::write(folder.path().join("train.jsonl"), "").unwrap();
    assert_eq!(
        names(folder.path(), None).unwrap_err(),
        "`F` has several configurations: `.` and `main`"
    );
    assert_eq!(
        names_of(&folder.path().join("main"), Some("main"), None).unwrap_err(),
        "`F` has no configuration `main`: it has none"
    );
}

#[test]
fn saved_splits_side_by_side_are_told_by_their_folders() {
    let folder = folder(&["train/data-0.arrow", "test/data-0.arrow"]);
    for name in ["train", "test"] {
        let state = r#"{"_data_files": [{"filename": "data-0.arrow"}], "_split": null}"#;
        fs::write(folder.path().join(name).join("state.json"), state).unwrap();
    }
    assert_eq!(names(folder.path(), None).unwrap(), ["train/data-0.arrow"]);
    assert_eq!(names(folder.path(), Some("test")).unwrap(), ["test/data-0.arrow"]);
    assert_eq!(
        names(folder.path(), Some("dev")).unwrap_err(),
        "`F` has no split `validation`: it has `test` and `train`"
    );
    fs::remove_dir_all(folder.path().join("train")).unwrap();
    assert_eq!(
        names(folder.path(), None).unwrap_err(),
        "`F` has no split `train`: it has `test`"
    );
}

#[test]
fn a_piece_in_a_compression_that_is_not_read_is_not_passed_over() {
    let folder = folder(&["train-0.jsonl.gz", "train-1.jsonl.xz"]);
    assert_eq!(
        names(folder.path(), None).unwrap(),
        ["train-0.jsonl.gz", "train-1.jsonl.xz"]
    );
}

#[test]
fn a_file_whose_name_is_not_text_is_not_passed_over() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = folder(&["train.jsonl"]);
    let name = std::ffi::OsStr::from_bytes(b"train-\xff.jsonl");
    fs::write(folder.path().join(name), "").unwrap();
    let error = names(folder.path(), None).unwrap_err();
    assert!(
        error.ends_with("cannot be read: it is named in bytes that are not UTF-8"),
        "{error}"
    );
}

#[test]
fn files_that_describe_a_folder_are_not_waited_for() {
    for name in ["README.md", "state.json", "dataset_dict.json"] {
        let folder = folder(&["train.jsonl"]);
        let pipe = folder.path().join(name);
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let error = folder_files(folder.path(), None, None);
        // `save_to_disk` writes files, so a pipe does not make the folder one of its own.
        assert!(
            matches!(&error, Err(CorpusError::NotARegularFile { path }) if *path == pipe),
            "{name}: {error:?}"
        );
    }
}
