//! Folders and stores that have something else.

use std::{fs, path::Path};

use leadspan_diagnosis::Diagnosis as _;

use super::{
    fake::{Contents, Fake},
    made::{self, LAYER, files, opened, pull, push},
};
use crate::StoreError;

fn refused(result: Result<crate::Summary, StoreError>) -> String {
    let error = result.unwrap_err();
    assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
    error.to_string()
}

/// A cache, and others that differ from it in one way, by the file that shows it.
fn others(place: &Path) -> Vec<(&'static str, std::path::PathBuf)> {
    let dir = |name: &str| place.join(name);
    made::prepared(&dir("teacher"), "another", 1);
    made::prepared(&dir("corpus"), "teacher", 2);
    made::prepared(&dir("capture"), "teacher", 1);
    made::captured(&dir("capture"), 1, &made::noise(9, 70), "cuda");
    vec![
        ("identity.json", dir("teacher")),
        ("corpus/prepared.json", dir("corpus")),
        ("train-000001.json", dir("capture")),
    ]
}

#[test]
fn another_cache_is_refused_in_both_directions_and_nothing_changes() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("cache");
    made::cache(&dir);
    for (name, other) in others(place.path()) {
        let contents = Contents::default();
        let store = opened(Fake::new(&contents), 2);
        push(&store, &dir).unwrap();
        let before = contents.now();
        let text = refused(push(&store, &other));
        assert!(text.contains(name) && text.contains("s3://bucket/cache"), "{text}");
        assert!(contents.now() == before, "{name}");
        let before = files(&other);
        let text = refused(pull(&store, &other));
        assert!(text.contains(name), "{text}");
        let after = files(&other);
        assert!(before.iter().all(|(name, bytes)| after[name] == *bytes), "{name}");
    }
}

#[test]
fn the_same_capture_by_another_program_is_the_same_cache() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [one, two] = ["one", "two"].map(|name| place.path().join(name));
    made::cache(&one);
    made::cache(&two);
    made::captured(&two, 1, &made::noise(101, 2010), "another class");
    let store = opened(Fake::new(&contents), 2);
    push(&store, &one).unwrap();
    assert_eq!(push(&store, &two).unwrap().files_copied, 0);
    pull(&store, &two).unwrap();
}

#[test]
fn foreign_folders_are_refused_by_the_name_of_a_file() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, foreign] = ["cache", "foreign"].map(|name| place.path().join(name));
    made::cache(&dir);
    let store = opened(Fake::new(&contents), 2);
    assert!(refused(pull(&store, &foreign)).contains("no cache at `s3://bucket/cache`"));
    contents.change().insert("theirs/report.csv".to_owned(), Vec::new());
    assert!(refused(push(&store, &dir)).contains("theirs/report.csv"));
    assert_eq!(contents.now().len(), 1);
    contents.change().clear();
    // Hidden files, such as those of a file browser, are no obstacle.
    contents.change().insert(".keep".to_owned(), Vec::new());
    push(&store, &dir).unwrap();
    for name in [
        "inventory.json",
        "corpus/tokens.u32",
        "tokenizer/tokenizer.json",
        "replay/identity.json",
    ] {
        let path = foreign.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"theirs").unwrap();
        assert!(refused(pull(&store, &foreign)).contains(name));
        fs::remove_dir_all(&foreign).unwrap();
    }
    fs::create_dir_all(foreign.join("deep")).unwrap();
    assert!(refused(push(&store, &foreign)).contains("is not a cache"));
    // Such as a model, none of whose files has the name of a cache's.
    fs::write(foreign.join("deep/model.safetensors"), b"mine").unwrap();
    assert!(refused(pull(&store, &foreign)).contains("deep/model.safetensors"));
    assert_eq!(files(&foreign).len(), 1);
    fs::rename(foreign.join("deep/model.safetensors"), foreign.join(".notes")).unwrap();
    pull(&store, &foreign).unwrap();
    // What is put beside a cache later stays.
    fs::write(foreign.join("notes.txt"), b"mine").unwrap();
    assert_eq!(pull(&store, &foreign).unwrap().files_copied, 0);
}

#[test]
fn layers_that_hold_positions_of_each_other_are_refused_in_both_directions() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [quarter, half, rest] = ["quarter", "half", "rest"].map(|name| place.path().join(name));
    for dir in [&quarter, &half, &rest] {
        made::prepared(dir, "teacher", 1);
    }
    made::layer(&quarter, "0", "0.25");
    made::layer(&half, "0", "0.5");
    made::layer(&half, "0.5", "0.75");
    made::layer(&rest, "0.25", "1");
    let store = opened(Fake::new(&contents), 2);
    push(&store, &quarter).unwrap();
    let (before, kept) = (contents.now(), files(&half));
    for result in [push(&store, &half), pull(&store, &half)] {
        let text = refused(result);
        let both = text.contains("`0-0.5-answer` here") && text.contains("`0-0.25-answer` there");
        assert!(both, "{text}");
        assert!(contents.now() == before && files(&half) == kept);
    }
    // What follows on it is the same cache.
    push(&store, &rest).unwrap();
    pull(&store, &quarter).unwrap();
    pull(&store, &rest).unwrap();
    assert!(files(&quarter) == files(&rest) && files(&rest) == contents.now());
}

#[test]
fn where_a_cut_comes_from_travels_with_it_and_into_no_cache_of_another_origin() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [cut, captured, back] = ["cut", "captured", "back"].map(|name| place.path().join(name));
    made::cache(&captured);
    made::cache(&cut);
    let origin = br#"{"format":1,"cut":{"from":{"inventory_blake3":"00"}}}"#;
    fs::write(cut.join("origin.json"), origin).unwrap();
    let store = opened(Fake::new(&contents), 2);
    let pushed = push(&store, &cut).unwrap();
    assert!(pushed.passed_over.is_empty() && contents.now() == files(&cut));
    pull(&store, &back).unwrap();
    assert!(files(&back) == files(&cut));
    // A cache that has layers already keeps what it has, or has not.
    let before = files(&captured);
    pull(&store, &captured).unwrap();
    assert!(files(&captured) == before);
    contents.change().remove("origin.json");
    assert_eq!(push(&store, &cut).unwrap().files_copied, 0);
    assert!(contents.now() == before);
    // Two origins are two caches.
    contents
        .change()
        .insert("origin.json".to_owned(), br#"{"format":1,"merge":[]}"#.to_vec());
    for result in [push(&store, &cut), pull(&store, &back)] {
        assert!(refused(result).contains("their `origin.json` differ"));
    }
    contents.change().insert("origin.json".to_owned(), b"[1".to_vec());
    assert!(refused(pull(&store, &place.path().join("new"))).contains("origin.json"));
}

#[test]
fn nothing_is_written_through_a_link() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, back, outside] = ["cache", "back", "outside"].map(|name| place.path().join(name));
    made::cache(&dir);
    let store = opened(Fake::new(&contents), 2);
    push(&store, &dir).unwrap();
    for folder in ["layers", "tokenizer", "corpus", LAYER] {
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(back.join(folder).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&outside, back.join(folder)).unwrap();
        let error = pull(&store, &back).unwrap_err();
        assert!(error.to_string().contains(folder), "{folder}: {error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{folder}");
        fs::remove_dir_all(&back).unwrap();
    }
}

#[test]
fn names_in_a_store_lead_nowhere_else() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    let store = opened(Fake::new(&contents), 2);
    push(&store, &dir).unwrap();
    for name in [
        "../evil.json",
        "layers/../../evil.json",
        "tokenizer/evil.py",
        "layers/x/train-000000.json",
    ] {
        contents.change().insert(name.to_owned(), b"{}".to_vec());
    }
    pull(&store, &back).unwrap();
    assert!(files(&back) == files(&dir));
    let identity = r#"{"tokenizer_files": {"../evil.json": "0"}}"#;
    contents
        .change()
        .insert("identity.json".to_owned(), identity.as_bytes().to_vec());
    contents.change().remove("inventory.json");
    assert!(refused(pull(&store, &place.path().join("third"))).contains("identity.json"));
}
