//! A cache that was pushed and pulled has the same bytes, and nothing is copied twice.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use leadspan_cache::Elsewhere;
use leadspan_diagnosis::Diagnosis as _;

use super::{
    fake::{Contents, Fake},
    made::{self, LAYER, files, opened, pull, push},
};
use crate::{
    Address, Environment, Opened, Outcome, Pushing, StoreError, Summary, open::open_with, read_ranges, store::PIECE,
};

fn folder(dir: &Path) -> Opened {
    let address: Address = format!("file://{}", dir.display()).parse().unwrap();
    let pauses = [std::time::Duration::ZERO; 2];
    open_with(
        &address,
        &Environment::default(),
        3,
        pauses,
        &(std::sync::Arc::new(|_| {}) as _),
    )
    .unwrap()
}

#[test]
fn a_cache_is_not_pushed_into_itself() {
    let place = tempfile::tempdir().unwrap();
    let [dir, link] = ["cache", "link"].map(|name| place.path().join(name));
    made::cache(&dir);
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let before = files(&dir);
    for inside in [dir.join("away"), link.join("deep/away")] {
        let error = push(&folder(&inside), &dir).unwrap_err();
        assert!(
            matches!(&error, StoreError::Inside { .. }) && !error.is_unexpected(),
            "{error}"
        );
        let error = push(&folder(&place.path().join("cache/away")), &link).unwrap_err();
        assert!(matches!(error, StoreError::Inside { .. }), "{error}");
    }
    assert!(files(&dir) == before && !dir.join("away").exists());
    // The folder around it has something else.
    let error = push(&folder(place.path()), &dir).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(push(&folder(&dir), &dir).unwrap().files_copied, 0);
    assert!(files(&dir) == before);
}

#[test]
fn a_cache_goes_through_a_folder_and_comes_back_the_same() {
    let place = tempfile::tempdir().unwrap();
    let [dir, away, back] = ["cache", "away", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    // More than one piece.
    made::unit(&dir, 3, PIECE as usize + 1234);
    made::completed(&dir);
    fs::write(dir.join("notes.txt"), b"mine").unwrap();
    let store = folder(&away);
    let pushed = push(&store, &dir).unwrap();
    assert_eq!(pushed.passed_over, ["notes.txt"]);
    assert!(pushed.complete && pushed.files_there == 0);
    let pulled = pull(&store, &back).unwrap();
    assert!(pulled.complete && pulled.problems.is_empty());
    assert_eq!(pulled.files_copied, pushed.files_copied);
    assert_eq!(pulled.bytes_copied, pushed.bytes_copied);
    fs::remove_file(dir.join("notes.txt")).unwrap();
    assert!(files(&dir) == files(&back) && files(&dir) == files(&away));
    let (pushed, pulled) = (push(&store, &dir).unwrap(), pull(&store, &back).unwrap());
    assert_eq!((pushed.files_copied, pulled.files_copied), (0, 0));
    assert_eq!(pushed.files_there, pulled.files_there);
}

#[test]
fn files_are_written_after_what_they_describe() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    for parallel in [1, 4] {
        let contents = Contents::default();
        push(&opened(Fake::new(&contents), parallel), place.path()).unwrap();
        assert!(contents.now() == files(place.path()));
        let written = contents.written.lock().unwrap().clone();
        let place_of = |name: &str| written.iter().position(|other| other == name).unwrap();
        let receipt = place_of(&format!("{LAYER}/train-000001.json"));
        assert!(place_of(&format!("{LAYER}/train-000001.parquet")) < receipt);
        assert!(place_of("tokenizer/tokenizer.json") < place_of("identity.json"));
        assert!(place_of("corpus/tokens.u32") < place_of("corpus/prepared.json"));
        assert!(place_of(&format!("{LAYER}/manifest.json")) > receipt);
        assert_eq!(place_of("inventory.json"), written.len() - 1);
    }
}

#[test]
fn what_is_there_is_passed_over_with_or_without_checksums() {
    for states_md5 in [true, false] {
        let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
        made::cache(place.path());
        let store = || match Fake::new(&contents) {
            fake if states_md5 => opened(fake, 2),
            fake => opened(fake.without_md5(), 2),
        };
        push(&store(), place.path()).unwrap();
        made::unit(place.path(), 3, 99);
        made::completed(place.path());
        let pushed = push(&store(), place.path()).unwrap();
        // The shard, its receipt, the manifest and the inventory.
        assert_eq!(pushed.files_copied, 4);
        assert!(contents.now() == files(place.path()));
    }
}

#[test]
fn an_older_copy_of_a_cache_takes_nothing_back() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [old, new] = ["old", "new"].map(|name| place.path().join(name));
    made::cache(&old);
    made::cache(&new);
    made::unit(&new, 3, 99);
    made::completed(&new);
    let store = opened(Fake::new(&contents), 2);
    push(&store, &new).unwrap();
    let pushed = push(&store, &old).unwrap();
    assert_eq!(pushed.files_copied, 0);
    assert!(contents.now() == files(&new));
    // The same the other way round: a pull adds what is new, and keeps what only the folder has.
    let older = Contents::default();
    push(&opened(Fake::new(&older), 2), &old).unwrap();
    pull(&opened(Fake::new(&older), 2), &new).unwrap();
    assert!(contents.now() == files(&new));
    pull(&store, &old).unwrap();
    assert!(files(&old) == files(&new));
}

#[test]
fn what_a_capture_commits_is_copied_while_it_goes_on() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let dir = place.path().join("cache");
    let store = opened(Fake::new(&contents), 2);
    let go = AtomicBool::new(false);
    let mut pushing = Pushing::begin(&store, &dir).unwrap();
    assert!(!pushing.has_cache());
    made::prepared(&dir, "teacher", 1);
    assert_eq!(pushing.committed(&go, &mut |_| {}).unwrap(), Some(5));
    made::unit(&dir, 0, 500);
    assert_eq!(pushing.committed(&go, &mut |_| {}).unwrap(), Some(3));
    assert_eq!(pushing.committed(&go, &mut |_| {}).unwrap(), Some(0));
    // A disk vanishes: a new node has everything but what was not committed.
    let node = place.path().join("node");
    let pulled = pull(&store, &node).unwrap();
    assert!(!pulled.complete && files(&node) == files(&dir));
    made::unit(&dir, 1, 600);
    made::completed(&dir);
    assert!(Pushing::begin(&store, &dir).unwrap().has_cache());
    let crate::Outcome::Done(summary) = pushing.all(&go, &mut |_| {}).unwrap() else {
        panic!("nobody stopped it")
    };
    assert!(summary.complete && contents.now() == files(&dir));
}

#[test]
fn ranges_are_read_in_order_and_a_short_file_is_named() {
    let contents = Contents::default();
    let bytes = made::noise(7, 1000);
    contents.change().insert("a".to_owned(), bytes.clone());
    let store = opened(Fake::new(&contents), 3);
    let read = read_ranges(&store, "a", &[10..20, 0..0, 500..1000]).unwrap();
    assert_eq!(read, [bytes[10..20].to_vec(), Vec::new(), bytes[500..].to_vec()]);
    let error = read_ranges(&store, "a", std::slice::from_ref(&(999..1001)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("s3://bucket/cache/a") && error.contains("1001"),
        "{error}"
    );
}

#[test]
fn a_cache_is_pulled_without_its_shards_and_these_are_read_by_ranges() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, frame] = ["cache", "frame"].map(|name| place.path().join(name));
    made::cache(&dir);
    let store = opened(Fake::new(&contents), 2);
    push(&store, &dir).unwrap();
    let go = AtomicBool::new(false);
    crate::pull_frame(&store, &frame, &go, &mut |_| {}).unwrap();
    let mut expected = files(&dir);
    expected.retain(|name, _| !name.ends_with(".parquet"));
    assert!(files(&frame) == expected);
    let name = format!("{LAYER}/train-000002.parquet");
    let bytes = fs::read(dir.join(&name)).unwrap();
    let shard = store.shard(&frame, &name).unwrap();
    assert_eq!(shard.size(), bytes.len() as u64);
    assert_eq!(shard.range(100..300).unwrap(), bytes[100..300]);
    assert!(shard.range(0..bytes.len() as u64 + 1).is_err());
}

#[test]
fn a_stop_is_no_failure_and_the_next_call_goes_on() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    made::cache(place.path());
    let store = opened(Fake::new(&contents), 1);
    let stop = AtomicBool::new(false);
    let mut moved = 0;
    let outcome = crate::push(&store, place.path(), &stop, &mut |event| {
        if let crate::Event::Moved(_) = event {
            moved += 1;
            stop.store(moved == 6, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(matches!(outcome, Ok(crate::Outcome::Stopped)));
    made::require_sound(&contents.now());
    push(&store, place.path()).unwrap();
    assert!(contents.now() == files(place.path()));
}

#[test]
fn a_cache_whose_inventory_lacks_a_work_unit_is_not_called_complete() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    made::unit(&dir, 3, 70);
    let store = opened(Fake::new(&contents), 2);
    assert!(!push(&store, &dir).unwrap().complete);
    assert!(!pull(&store, &back).unwrap().complete && files(&back) == files(&dir));
    made::completed(&dir);
    assert!(push(&store, &dir).unwrap().complete && pull(&store, &back).unwrap().complete);
}

#[test]
fn two_pulls_into_one_folder_end_with_one_whole_cache() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, back] = ["cache", "back"].map(|name| place.path().join(name));
    made::cache(&dir);
    (3..40).for_each(|number| made::unit(&dir, number, 300));
    made::completed(&dir);
    push(&opened(Fake::new(&contents), 2), &dir).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert!(pull(&opened(Fake::new(&contents), 4), &back).unwrap().complete));
        }
    });
    assert!(files(&back) == files(&dir));
}

#[test]
fn a_worker_begins_without_the_work_units_of_others_and_knows_which_are_whole() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    let [dir, node] = ["cache", "node"].map(|name| place.path().join(name));
    made::cache(&dir);
    push(&opened(Fake::new(&contents), 2), &dir).unwrap();
    let shard = |number| format!("{LAYER}/train-{number:06}.parquet");
    contents.change().get_mut(&shard(1)).unwrap().truncate(100);
    let (pulled, stored) = pull_base(&opened(Fake::new(&contents), 2), &node);
    let layer = LAYER.strip_prefix("layers/").unwrap();
    let whole = |numbers: &[u64]| -> Elsewhere {
        let names = numbers
            .iter()
            .map(|number| (layer.to_owned(), format!("train-{number:06}")));
        names.collect()
    };
    assert_eq!((stored, pulled.problems.len()), (whole(&[0, 2]), 1));
    assert!(pulled.problems[0].to_string().contains("train-000001"));
    let mut expected = files(&dir);
    expected.retain(|name, _| !name.contains("train-") && !name.ends_with("manifest.json") && name != "inventory.json");
    assert!(files(&node) == expected);
    // What it captures goes to the store, and nothing there is lost.
    made::unit(&node, 1, 2010);
    push(&opened(Fake::new(&contents), 2), &node).unwrap();
    assert!(contents.now() == files(&dir));
    assert_eq!(pull_base(&opened(Fake::new(&contents), 2), &node).1, whole(&[0, 1, 2]));
    // Another capture of a unit that is here is no part of this cache.
    made::captured(&node, 2, &made::noise(5, 10), "cuda");
    let go = AtomicBool::new(false);
    let error = crate::pull_base(&opened(Fake::new(&contents), 2), &node, &go, &mut |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::OtherCache { .. }), "{error}");
}

fn pull_base(store: &Opened, dir: &Path) -> (Summary, Elsewhere) {
    let go = AtomicBool::new(false);
    match crate::pull_base(store, dir, &go, &mut |_| {}).unwrap() {
        (Outcome::Done(summary), stored) => (summary, stored),
        (Outcome::Stopped, _) => panic!("nobody stopped it"),
    }
}
