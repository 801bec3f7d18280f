//! Caches that are cut on their way out of a store: the same files as of a cut of the whole, with few bytes fetched.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use leadspan_cache::{Cache, CacheError, CutSettings, FRAME, Following};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_files::faults;

use super::{
    fake::{Contents, Fake},
    made::{files, opened, pull},
    server::{Fault, Server},
};
use crate::{CutOutcome, Environment, Opened, PulledCut, StoreError, open::open_with, pull_cut};

/// The caches of every format.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/caches")
}

fn unfollowed<T>(run: impl FnOnce(&mut Following<'_>) -> T) -> T {
    run(&mut Following {
        stop: &|| false,
        progress: &mut |_| {},
        waiting: &mut |_| {},
    })
}

fn cut_from(store: &Opened, dir: &Path, settings: &CutSettings) -> Result<PulledCut, StoreError> {
    let go = AtomicBool::new(false);
    let outcome = unfollowed(|following| pull_cut(store, dir, settings, &go, &mut |_| {}, following))?;
    match outcome {
        CutOutcome::Done(pulled) => Ok(pulled),
        CutOutcome::Stopped => panic!("nobody stopped it"),
    }
}

fn shorter(proportion: &str) -> CutSettings {
    CutSettings {
        proportion: Some(proportion.parse().unwrap()),
        ..CutSettings::default()
    }
}

/// A store with a cache of the fixtures, and the files of its cut, which is made of the whole cache; or why it has none.
fn stored_or_refused(
    name: &str,
    place: &Path,
    settings: &CutSettings,
) -> (Contents, Result<BTreeMap<String, Vec<u8>>, CacheError>) {
    let contents = Contents::default();
    *contents.change() = files(&fixtures().join(name));
    let (whole, cut) = (place.join("whole"), place.join("cut"));
    pull(&opened(Fake::new(&contents), 2), &whole).unwrap();
    let source = Cache::open(&whole).unwrap();
    let made = unfollowed(|following| leadspan_cache::cut(&source, &cut, settings, following));
    fs::remove_dir_all(&whole).unwrap();
    (contents, made.map(|_| files(&cut)))
}

fn stored(name: &str, place: &Path, settings: &CutSettings) -> (Contents, BTreeMap<String, Vec<u8>>) {
    let (contents, made) = stored_or_refused(name, place, settings);
    (contents, made.unwrap())
}

#[test]
fn a_cut_out_of_a_store_has_the_files_of_a_cut_of_the_whole() {
    let everything = CutSettings::default();
    let of_sections = CutSettings {
        sections: serde_json::from_str(r#"["answer"]"#).unwrap(),
        ..shorter("0.3")
    };
    let of_entries = CutSettings {
        top_k: Some(2),
        ..CutSettings::default()
    };
    let mut refused = 0;
    for name in [
        "format-2-inventory",
        "format-2-exact",
        "format-2-fine",
        "format-2-standard",
        "format-2-corpus-3",
    ] {
        for settings in [
            &shorter("0.25"),
            &shorter("0.5"),
            &everything,
            &of_sections,
            &of_entries,
        ] {
            let place = tempfile::tempdir().unwrap();
            let (contents, made) = stored_or_refused(name, place.path(), settings);
            let dir = place.path().join("pulled");
            let store = opened(Fake::new(&contents), 3);
            let expected = match made {
                Ok(expected) => expected,
                // Drawn tokens stand for a tail that is no longer the same.
                Err(CacheError::DrawsOfSmallerTail { .. }) => {
                    let error = cut_from(&store, &dir, settings).unwrap_err();
                    assert!(
                        matches!(&error, StoreError::InStore { error, .. } if matches!(**error, CacheError::DrawsOfSmallerTail { .. })),
                        "{name}: {error}"
                    );
                    assert!(!dir.exists(), "{name}");
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("{name}: {error}"),
            };
            let pulled = cut_from(&store, &dir, settings).unwrap();
            assert!(files(&dir) == expected, "{name}: {settings:?}");
            assert!(!dir.join(FRAME).exists());
            let all: usize = contents.now().values().map(Vec::len).sum();
            let foreign = contents.now().get("expected.jsonl").map_or(0, Vec::len);
            assert_eq!(pulled.store_bytes as usize, all - foreign, "{name}");
            if *settings == shorter("0.25") {
                // Shards of older programs are read whole, to be checked.
                assert!(pulled.bytes_fetched <= pulled.store_bytes, "{name}: {pulled:?}");
                assert!(
                    pulled.bytes_fetched < pulled.store_bytes || name != "format-2-inventory",
                    "{pulled:?}"
                );
            }
            // What is there stays, and only what describes the cache in the store is fetched again.
            let again = cut_from(&store, &dir, settings).unwrap();
            let now = contents.now().into_iter();
            let descriptions: usize = now
                .filter(|(name, _)| name.ends_with(".json") && !name.contains("tokenizer/"))
                .map(|(_, bytes)| bytes.len())
                .sum();
            assert_eq!((again.made.shards_made, again.store_bytes), (0, pulled.store_bytes));
            assert!(again.bytes_fetched as usize <= descriptions, "{name}: {again:?}");
            assert!(files(&dir) == expected);
        }
    }
    assert!(refused < 5, "with fewer entries, no cache was cut");
}

#[test]
fn a_cut_out_of_a_store_that_fails_at_any_write_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let (contents, expected) = stored("format-2-inventory", place.path(), &shorter("0.25"));
    // Every third operation: the others are of the same kinds.
    for failing in (0..).step_by(3) {
        let dir = place.path().join("pulled");
        let store = opened(Fake::new(&contents), 1);
        let (first, was_reached) = faults::failing_at(failing, || cut_from(&store, &dir, &shorter("0.25")));
        if !was_reached {
            first.unwrap();
            assert!(failing > 60, "only {failing} operations were tried");
            break;
        }
        if let Err(error) = first {
            assert!(error.hint().is_some(), "{failing}: {error}");
        }
        for (name, bytes) in files(&dir) {
            assert_eq!(Some(&bytes), expected.get(&name), "{failing}: {name}");
        }
        cut_from(&store, &dir, &shorter("0.25")).unwrap();
        assert!(files(&dir) == expected && !dir.join(FRAME).exists(), "{failing}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_cut_that_was_killed_while_it_removed_its_hidden_folder_is_there_at_the_next_call() {
    let place = tempfile::tempdir().unwrap();
    let (contents, expected) = stored("format-2-inventory", place.path(), &shorter("0.25"));
    let dir = place.path().join("pulled");
    let store = opened(Fake::new(&contents), 2);
    cut_from(&store, &dir, &shorter("0.25")).unwrap();
    let frame = dir.join(FRAME);
    // What the order of a folder's files leaves: parts without the identity, or the identity without parts.
    for left in [
        &["tokenizer/tokenizer.json", "inventory.json"][..],
        &["identity.json"],
        &[],
    ] {
        for name in left {
            let path = frame.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents.change().get(*name).unwrap()).unwrap();
        }
        fs::create_dir_all(frame.join("layers/empty")).unwrap();
        assert_eq!(cut_from(&store, &dir, &shorter("0.25")).unwrap().made.shards_made, 0);
        assert!(files(&dir) == expected && !frame.exists(), "{left:?}");
    }
}

#[test]
fn what_cannot_be_cut_is_refused_by_name_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (contents, expected) = stored("format-2-inventory", place.path(), &shorter("0.25"));
    let dir = place.path().join("pulled");
    let refused = |settings: &CutSettings| {
        let error = cut_from(&opened(Fake::new(&contents), 2), &dir, settings).unwrap_err();
        assert!(!error.is_unexpected() && error.hint().is_some(), "{error:?}");
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    let of_nobody = CutSettings {
        samples: Some(vec!["nobody".to_owned()]),
        ..CutSettings::default()
    };
    assert!(refused(&of_nobody).contains("nobody"));
    assert!(!dir.exists());
    // A block, and the whole of another shard, are not what they were when the receipts were read.
    let sound = contents.now();
    let shards: Vec<&String> = sound.keys().filter(|name| name.ends_with(".parquet")).collect();
    for name in shards {
        for damage in [0, 1] {
            let bytes = contents.change().get(name).unwrap().clone();
            let mut changed = bytes.clone();
            match damage {
                0 => changed.truncate(bytes.len() - 1),
                _ => changed.iter_mut().for_each(|byte| *byte ^= 1),
            }
            contents.change().insert(name.clone(), changed);
            let text = refused(&CutSettings::default());
            let is_named = text.contains(&format!("`s3://bucket/cache/{name}`")) && !text.contains(FRAME);
            assert!(is_named && text.contains("push the cache again"), "{name}: {text}");
            assert!(!dir.join(FRAME).exists());
            contents.change().insert(name.clone(), bytes);
        }
        let receipt = name.replace(".parquet", ".json");
        // A store whose capture goes on has neither, and no inventory.
        let removed = [&receipt, name, "inventory.json"].map(|name| (name, contents.change().remove(name).unwrap()));
        let text = refused(&shorter("1"));
        let is_named = text.contains("work units are missing") && text.contains("`s3://bucket/cache/layers/");
        assert!(is_named && text.contains("push the cache again"), "{name}: {text}");
        for (name, bytes) in removed {
            contents.change().insert(name.to_owned(), bytes);
        }
        let bytes = contents.change().remove(&receipt).unwrap();
        assert!(refused(&shorter("0.25")).contains("is missing"));
        contents.change().insert(receipt, bytes);
        fs::remove_dir_all(&dir).unwrap_or_default();
    }
    // A folder of something else stays as it is.
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("notes.txt"), b"mine").unwrap();
    assert!(refused(&shorter("0.25")).contains("notes.txt"));
    assert_eq!(files(&dir).len(), 1);
    fs::remove_dir_all(&dir).unwrap();
    pull(&opened(Fake::new(&contents), 2), &dir).unwrap();
    assert!(refused(&shorter("0.25")).contains("it was captured"));
    fs::remove_dir_all(&dir).unwrap();
    cut_from(&opened(Fake::new(&contents), 2), &dir, &shorter("0.25")).unwrap();
    assert!(refused(&shorter("0.125")).contains("proportion"));
    assert!(files(&dir) == expected);
}

#[test]
fn a_web_server_is_cut_from_by_ranges_and_one_that_ignores_them_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (contents, expected) = stored("format-2-inventory", place.path(), &shorter("0.25"));
    let faults = [Fault::None, Fault::IgnoredRange];
    for (number, fault) in faults.into_iter().enumerate() {
        let server = Server::start(move |_, path| if path.ends_with(".parquet") { fault } else { Fault::None });
        let shown = contents.now().into_iter();
        server.state.lock().unwrap().objects = shown.map(|(name, bytes)| (format!("some/{name}"), bytes)).collect();
        let address = format!("{}/bucket/some/", server.url).parse().unwrap();
        let retrying = Arc::new(|_: Duration| {}) as _;
        let store = open_with(&address, &Environment::default(), 3, [Duration::ZERO; 2], &retrying).unwrap();
        let dir = place.path().join(number.to_string());
        match (fault, cut_from(&store, &dir, &shorter("0.25"))) {
            (Fault::None, pulled) => {
                pulled.unwrap();
                assert!(files(&dir) == expected);
            }
            (_, pulled) => {
                let error = pulled.unwrap_err();
                assert!(matches!(&error, StoreError::NoRanges { .. }), "{error:?}");
                assert!(
                    !error.is_unexpected() && error.hint().unwrap().contains("206"),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn of_two_cuts_into_one_folder_the_second_is_refused_and_the_first_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let (contents, expected) = stored("format-2-inventory", place.path(), &shorter("0.25"));
    let dir = place.path().join("pulled");
    let (store, go) = (opened(Fake::new(&contents), 1), AtomicBool::new(false));
    let mut second = None;
    let meanwhile = &mut |_| {
        second.get_or_insert_with(|| cut_from(&opened(Fake::new(&contents), 1), &dir, &shorter("0.25")));
    };
    unfollowed(|following| pull_cut(&store, &dir, &shorter("0.25"), &go, meanwhile, following)).unwrap();
    let error = second.unwrap().unwrap_err();
    assert!(
        matches!(&error, StoreError::InUse { path } if *path == dir),
        "{error:?}"
    );
    assert!(!error.is_unexpected() && error.hint().is_some());
    assert!(files(&dir) == expected && !dir.join(FRAME).exists());
}
