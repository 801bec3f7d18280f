//! Objects that a store loses, truncates or changes.

use std::{fs, sync::atomic::AtomicBool};

use leadspan_diagnosis::Diagnosis as _;

use super::{
    fake::{Contents, Fake, Fate},
    made::{self, LAYER, files, opened, pull, push},
};
use crate::{Event, Outcome, StoreError, store::PIECE};

/// How the bytes of a file change.
type Change = Box<dyn Fn(&mut Vec<u8>)>;

#[test]
fn what_a_store_acknowledges_and_loses_is_sent_again_before_the_inventory() {
    for fate in [Fate::Lost, Fate::Truncated] {
        for name in [
            "corpus/tokens.u32",
            "corpus/prepared.json",
            &format!("{LAYER}/train-000001.parquet"),
            &format!("{LAYER}/train-000002.json"),
            &format!("{LAYER}/layer.json"),
        ] {
            let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
            made::cache(place.path());
            let (victim, mut is_first) = (name.to_owned(), true);
            let faulty = Fake::with(&contents, move |_, name| {
                let is_struck = name == victim && is_first;
                is_first &= !is_struck;
                if is_struck { fate } else { Fate::Kept }
            });
            push(&opened(faulty, 2), place.path()).unwrap();
            assert!(contents.now() == files(place.path()), "{name}: {fate:?}");
        }
    }
}

#[test]
fn a_store_that_keeps_nothing_is_named_and_gets_no_inventory() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    made::cache(place.path());
    let faulty = Fake::with(&contents, |_, name| {
        if name.ends_with("train-000001.parquet") {
            Fate::Lost
        } else {
            Fate::Kept
        }
    });
    let error = push(&opened(faulty, 2), place.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Lost { place } if place.ends_with("train-000001.parquet")),
        "{error}"
    );
    assert!(error.is_unexpected() && !contents.now().contains_key("inventory.json"));
}

#[test]
fn damaged_work_units_are_named_and_left_out_and_a_push_mends_them() {
    let shard = format!("{LAYER}/train-000001.parquet");
    let receipt = format!("{LAYER}/train-000001.json");
    let changes: [(&str, &String, Option<Change>); 5] = [
        ("lost shard", &shard, None),
        ("lost receipt", &receipt, None),
        ("truncated", &shard, Some(Box::new(|bytes| bytes.truncate(100)))),
        ("flipped", &shard, Some(Box::new(|bytes| bytes[50] ^= 1))),
        ("broken receipt", &receipt, Some(Box::new(|bytes| bytes.truncate(20)))),
    ];
    for (what, name, change) in changes {
        let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
        let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
        made::cache(&dir);
        let store = || opened(Fake::new(&contents), 2);
        push(&store(), &dir).unwrap();
        match change {
            None => drop(contents.change().remove(name)),
            Some(change) => change(contents.change().get_mut(name).unwrap()),
        }
        let pulled = pull(&store(), &back).unwrap();
        let [problem] = &pulled.problems[..] else {
            panic!("{what}: {:?}", pulled.problems)
        };
        assert!(problem.to_string().contains("train-000001"), "{what}: {problem}");
        assert!(!problem.is_unexpected() && problem.hint().is_some(), "{what}");
        assert!(!pulled.complete && !back.join("inventory.json").exists(), "{what}");
        assert!(!back.join(&receipt).exists() && back.join(LAYER).join("train-000002.json").exists());
        made::require_sound(&files(&back));
        push(&store(), &dir).unwrap();
        assert!(
            pull(&store(), &back).unwrap().complete && files(&back) == files(&dir),
            "{what}"
        );
    }
}

#[test]
fn what_every_work_unit_needs_ends_a_pull_if_it_is_damaged() {
    for name in [
        "corpus/tokens.u32",
        "corpus/prepared.json",
        "tokenizer/tokenizer.json",
        "inventory.json",
        "identity.json",
    ] {
        let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
        let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
        made::cache(&dir);
        push(&opened(Fake::new(&contents), 2), &dir).unwrap();
        *contents.change().get_mut(name).unwrap() = b"{ }".to_vec();
        let error = pull(&opened(Fake::new(&contents), 2), &back).unwrap_err();
        assert!(
            error.to_string().contains(name) && !error.is_unexpected(),
            "{name}: {error}"
        );
        assert!(!back.join("inventory.json").exists());
    }
}

#[test]
fn a_cache_here_that_lacks_a_work_unit_is_not_pushed_as_if_it_were_whole() {
    for lost in [&["parquet"][..], &["parquet", "json"]] {
        let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
        made::cache(place.path());
        for end in lost {
            fs::remove_file(place.path().join(LAYER).join(format!("train-000001.{end}"))).unwrap();
        }
        let error = push(&opened(Fake::new(&contents), 2), place.path()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Missing { place, .. } if place.ends_with("train-000001.parquet")),
            "{error}"
        );
        assert!(contents.now().is_empty());
    }
}

#[test]
fn a_shard_here_that_is_not_its_receipts_is_not_pushed() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    made::cache(place.path());
    let path = place.path().join(LAYER).join("train-000001.parquet");
    let sound = fs::read(&path).unwrap();
    let mut flipped = sound.clone();
    flipped[7] ^= 1;
    for wrong in [&flipped[..], &sound[..100]] {
        fs::write(&path, wrong).unwrap();
        let error = push(&opened(Fake::new(&contents), 2), place.path()).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { place, .. } if place.ends_with("train-000001.parquet")));
        assert!(!error.is_unexpected() && !contents.now().contains_key(&format!("{LAYER}/train-000001.json")));
    }
}

#[test]
fn a_shard_that_is_replaced_while_it_is_pulled_is_left_out_and_pulled_by_the_next_call() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    made::unit(&dir, 1, PIECE as usize + 5);
    made::completed(&dir);
    let store = opened(Fake::new(&contents), 1);
    push(&store, &dir).unwrap();
    let name = format!("{LAYER}/train-000001.parquet");
    let sound = contents.now()[&name].clone();
    for replaced in [made::noise(9, sound.len()), made::noise(9, 10)] {
        let go = AtomicBool::new(false);
        let outcome = crate::pull(&store, &back, &go, &mut |event| {
            if event == Event::Moved(PIECE) {
                contents.change().insert(name.clone(), replaced.clone());
            }
        });
        let Ok(Outcome::Done(pulled)) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(!pulled.complete && pulled.problems.len() == 1, "{:?}", pulled.problems);
        assert!(pulled.problems[0].to_string().contains(&name) && !pulled.problems[0].is_unexpected());
        assert!(!back.join(&name).exists() && back.join(LAYER).join("train-000002.json").exists());
        made::require_sound(&files(&back));
        contents.change().insert(name.clone(), sound.clone());
        assert!(pull(&store, &back).unwrap().complete && files(&back) == files(&dir));
        fs::remove_dir_all(&back).unwrap();
    }
}
