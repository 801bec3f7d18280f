//! A copy that is killed at any moment leaves a cache, complete or not, and the next one goes on.

use std::thread;

use leadspan_files::faults;

use super::{
    fake::{Contents, Fake, Fate},
    made::{self, files, opened, pull, push, require_sound},
};

#[test]
fn a_push_that_is_killed_at_any_write_goes_on() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    let whole = files(place.path());
    for parallel in [1, 3] {
        for killed_at in 0..=whole.len() {
            let contents = Contents::default();
            let dying = Fake::with(
                &contents,
                move |number, _| if number >= killed_at { Fate::Gone } else { Fate::Kept },
            );
            let first = push(&opened(dying, parallel), place.path());
            assert_eq!(first.is_err(), killed_at < whole.len(), "{killed_at}");
            require_sound(&contents.now());
            push(&opened(Fake::new(&contents), parallel), place.path()).unwrap();
            assert!(contents.now() == whole, "{killed_at}");
        }
    }
}

#[test]
fn a_pull_that_is_killed_at_any_write_goes_on() {
    let (place, contents) = (tempfile::tempdir().unwrap(), Contents::default());
    made::cache(&place.path().join("cache"));
    let whole = files(&place.path().join("cache"));
    *contents.change() = whole.clone();
    for killed_at in 0.. {
        let dir = place.path().join(format!("pulled-{killed_at}"));
        let store = opened(Fake::new(&contents), 1);
        let (first, was_reached) = faults::failing_at(killed_at, || pull(&store, &dir));
        if !was_reached {
            first.unwrap();
            assert!(killed_at > 40 && files(&dir) == whole);
            return;
        }
        assert!(first.is_err(), "{killed_at}");
        if dir.exists() {
            require_sound(&files(&dir));
        }
        pull(&store, &dir).unwrap();
        assert!(files(&dir) == whole, "{killed_at}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn two_pushers_of_one_cache_end_with_one_whole_cache() {
    let place = tempfile::tempdir().unwrap();
    made::cache(place.path());
    for _ in 0..20 {
        let contents = Contents::default();
        thread::scope(|scope| {
            for _ in 0..2 {
                let (contents, dir) = (contents.clone(), place.path());
                scope.spawn(move || push(&opened(Fake::new(&contents), 3), dir).unwrap());
            }
        });
        assert!(contents.now() == files(place.path()));
    }
}
