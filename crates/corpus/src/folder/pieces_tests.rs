//! Files of a split that are not all JSON lines, and pieces that are missing.

use std::fs;

use super::tests::{folder, names, names_of};

const LINES: &str = "{\"question\": 1}\n{\"question\": 2}\n";

#[test]
fn json_that_holds_rows_is_read_beside_json_lines() {
    for files in [
        &["train-0.jsonl", "train-1.json"][..],
        &["train-0.jsonl", "train-1.json.gz", "train-2.json.zst"],
        &["train-0.jsonl", "train-1.ndjson"],
        &["train/0.jsonl", "train/1.ndjson.gz"],
        &["train.json"],
    ] {
        assert_eq!(names(folder(files).path(), None).unwrap(), files);
    }
    let several = folder(&["main-train.json", "extra-train.json"]);
    for file in ["main-train.json", "extra-train.json"] {
        fs::write(several.path().join(file), LINES).unwrap();
    }
    assert_eq!(
        names(several.path(), None).unwrap_err(),
        "`F` has several configurations: `extra` and `main`"
    );
    assert_eq!(
        names_of(several.path(), Some("main"), None).unwrap(),
        ["main-train.json"]
    );
    // A name without a split tells nothing, so the content does.
    for (content, is_data) in [
        (LINES, true),
        ("\u{feff}[\n {\"question\": 1}]", true),
        ("{\n  \"citation\": \"\"\n}\n", false),
        ("{\"default\": {}}\n", false),
        ("[\"a\", \"b\"]", false),
        ("", false),
    ] {
        let plain = folder(&["a.jsonl", "b.json"]);
        fs::write(plain.path().join("b.json"), content).unwrap();
        let read: &[&str] = if is_data { &["a.jsonl", "b.json"] } else { &["a.jsonl"] };
        assert_eq!(names(plain.path(), None).unwrap(), read, "{content:?}");
    }
}

#[test]
fn json_that_describes_a_data_set_is_not_data() {
    let described = [
        "dataset_infos.json",
        "dataset_info.json",
        "config.json",
        "metadata.json",
        "train_config.json",
        "train-stats.json",
        "tokenizer.json",
    ];
    let folder = folder(&[&["train.jsonl"][..], &described].concat());
    for file in described {
        fs::write(folder.path().join(file), LINES).unwrap();
    }
    assert_eq!(names(folder.path(), None).unwrap(), ["train.jsonl"]);
}

#[test]
fn the_same_name_with_two_formats_is_probably_the_same_rows() {
    assert_eq!(
        names(folder(&["train.json", "train.jsonl.gz"]).path(), None).unwrap_err(),
        "`F/train.json` and `F/train.jsonl.gz` are of different kinds"
    );
}

#[test]
fn data_of_the_split_in_a_format_that_is_not_read_is_refused() {
    for (files, named) in [
        (
            &["train-0.jsonl", "train-1.csv"][..],
            "train-1.csv` cannot be read: it is a table of comma-separated values",
        ),
        (
            &["train-0.jsonl", "train-1.jsonl.zip"],
            "train-1.jsonl.zip` cannot be read: it is a ZIP archive",
        ),
        (
            &["train/0.parquet", "train/1.tsv.gz"],
            "train/1.tsv.gz` cannot be read: it is a table of tab-separated values",
        ),
        (
            &["a.jsonl", "b.csv"],
            "b.csv` cannot be read: it is a table of comma-separated values",
        ),
        (
            &["a.jsonl", "train.csv"],
            "train.csv` cannot be read: it is a table of comma-separated values",
        ),
        (
            &["train.csv", "README.md"],
            "train.csv` cannot be read: it is a table of comma-separated values",
        ),
        (
            &["train.csv", "test.jsonl"],
            "train.csv` cannot be read: it is a table of comma-separated values",
        ),
    ] {
        assert_eq!(names(folder(files).path(), None).unwrap_err(), format!("`F/{named}"));
    }
    let other = folder(&["main/train.jsonl", "socratic/train.csv"]);
    assert_eq!(names(other.path(), None).unwrap(), ["main/train.jsonl"]);
    // Another split, another configuration, or no data.
    for other in ["test.csv", "train-scores.csv", "scores.csv", "train_metrics.csv"] {
        let folder = folder(&["train.jsonl", other]);
        assert_eq!(names(folder.path(), None).unwrap(), ["train.jsonl"], "{other}");
    }
}

#[test]
fn a_piece_that_is_missing_is_named() {
    for (files, missing) in [
        (
            &["train-00000-of-00003.jsonl", "train-00002-of-00003.jsonl"][..],
            "train-00001-of-00003.jsonl",
        ),
        (
            &["data/train-00001-of-00002-0f3a.parquet"],
            "data/train-00000-of-00002.parquet",
        ),
        (
            &["main/train-00001-of-00003.jsonl", "main/train-00003-of-00003.jsonl"],
            "main/train-00002-of-00003.jsonl",
        ),
        (
            &["train-00000-of-00003.jsonl", "train-00001-of-00003.jsonl"],
            "train-00002-of-00003.jsonl",
        ),
    ] {
        assert_eq!(
            names(folder(files).path(), None).unwrap_err(),
            format!("there is no `F/{missing}`, which the names of the other pieces count")
        );
    }
    let listed = folder(&["data/train-00001-of-00002.parquet", "README.md"]);
    let readme = "---\nconfigs:\n- config_name: default\n  data_files: data/train-*\n---\n";
    fs::write(listed.path().join("README.md"), readme).unwrap();
    assert_eq!(
        names(listed.path(), None).unwrap_err(),
        "there is no `F/data/train-00000-of-00002.parquet`, which the names of the other pieces count"
    );
    for whole in [
        &["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"][..],
        &["train-00001-of-00002.jsonl", "train-00002-of-00002.jsonl"],
    ] {
        assert_eq!(names(folder(whole).path(), None).unwrap(), whole);
    }
}

#[test]
fn a_piece_that_is_there_in_two_versions_is_named() {
    for (files, [first, second]) in [
        (
            &[
                "train-00000-of-00001.jsonl",
                "train-00000-of-00002.jsonl",
                "train-00001-of-00002.jsonl",
            ][..],
            ["train-00000-of-00001.jsonl", "train-00000-of-00002.jsonl"],
        ),
        (
            &[
                "data/train-00000-of-00001-0f3a.parquet",
                "data/train-00000-of-00001-1b2c.parquet",
            ],
            [
                "data/train-00000-of-00001-0f3a.parquet",
                "data/train-00000-of-00001-1b2c.parquet",
            ],
        ),
    ] {
        assert_eq!(
            names(folder(files).path(), None).unwrap_err(),
            format!("`F/{first}` and `F/{second}` probably hold the same rows, by their names")
        );
    }
}
