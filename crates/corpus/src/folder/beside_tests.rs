//! Files and folders beside each other: configurations of a data set, or pieces of one.

use super::tests::{folder, names, names_of};

#[test]
fn files_and_folders_whose_names_differ_beside_the_split_are_configurations() {
    let several = "`F` has several configurations: `main` and `socratic`";
    for [main, socratic] in [
        ["main-train.jsonl", "socratic-train.jsonl"],
        ["train_main.jsonl.gz", "train_socratic.jsonl.gz"],
        ["main_train_1.parquet", "socratic_train_1.parquet"],
        ["train/main/0.jsonl", "train/socratic/0.jsonl"],
        ["data/train/main/0.jsonl", "data/train/socratic/part-0.jsonl"],
    ] {
        let folder = folder(&[main, socratic]);
        let several = if main.starts_with("data") {
            "`F` has several configurations: `data/main` and `data/socratic`"
        } else {
            several
        };
        assert_eq!(names(folder.path(), None).unwrap_err(), several);
        let (name, other) = if main.starts_with("data") {
            ("data/main", "data/none")
        } else {
            ("main", "none")
        };
        assert_eq!(names_of(folder.path(), Some(name), None).unwrap(), [main]);
        let error = names_of(folder.path(), Some(other), None).unwrap_err();
        assert!(error.starts_with("`F` has no configuration"), "{error}");
    }
    let one = folder(&["main-train.jsonl", "main-test.jsonl", "socratic-train.jsonl"]);
    assert_eq!(names(one.path(), Some("test")).unwrap(), ["main-test.jsonl"]);
    assert_eq!(
        names_of(one.path(), Some("none"), None).unwrap_err(),
        "`F` has no configuration `none`: it has `main` and `socratic`"
    );
    assert_eq!(
        names_of(one.path(), Some("main"), Some("dev")).unwrap_err(),
        "`F` has no split `validation`: it has `test` and `train`"
    );
    let rest = folder(&["train.jsonl", "train-extra.jsonl"]);
    assert_eq!(
        names(rest.path(), None).unwrap_err(),
        "`F` has several configurations: `.` and `extra`"
    );
    assert_eq!(names_of(rest.path(), Some("."), None).unwrap(), ["train.jsonl"]);
}

#[test]
fn pieces_of_one_configuration_are_read_together() {
    for files in [
        &["part-000-train.jsonl", "part-001-train.jsonl"][..],
        &["gsm8k_train_1.jsonl", "gsm8k_train_2.jsonl"],
        &["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        &["train-a.jsonl", "train-b.jsonl"],
        &["train/000/0.jsonl", "train/001/0.jsonl"],
        &["train/0.jsonl", "train/more/1.jsonl"],
        &["train/algebra.jsonl", "train/geometry.jsonl"],
        &["algebra.jsonl", "geometry.jsonl"],
        &["train-0f3a9c2e-0001.parquet", "train-77aa0b1c-0002.parquet"],
    ] {
        assert_eq!(names(folder(files).path(), None).unwrap(), files);
    }
}

#[test]
fn a_folder_that_is_named_as_a_data_file_and_has_no_data_is_refused() {
    let folder = folder(&["train.jsonl", "train-b.jsonl/_SUCCESS"]);
    assert!(names(folder.path(), None).unwrap_err().contains("F/train-b.jsonl"));
}

#[test]
fn names_that_are_not_utf_8_and_folders_beside_listed_files_stop_nobody() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = folder(&["data/train-0.jsonl", "data/train-old/notes.txt"]);
    let readme =
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n";
    std::fs::write(folder.path().join("README.md"), readme).unwrap();
    let odd = folder.path().join("data").join(std::ffi::OsStr::from_bytes(b"x\xff"));
    std::fs::write(odd, "").unwrap();
    assert_eq!(names(folder.path(), None).unwrap(), ["data/train-0.jsonl"]);
    std::fs::create_dir(folder.path().join("data/train-1.jsonl")).unwrap();
    assert!(names(folder.path(), None).unwrap_err().contains("F/data/train-1.jsonl"));
}
