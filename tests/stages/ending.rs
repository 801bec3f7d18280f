//! A stage that is killed, stopped or divided among workers leaves the same files.

use std::fs;

use super::{PRECOMPUTE, TRAIN};
use crate::program::Workplace;

#[test]
fn a_precompute_killed_at_any_moment_leaves_what_an_uninterrupted_one_makes() {
    let whole = Workplace::with_rows(120, 200);
    whole.succeed(&PRECOMPUTE);
    let expected = whole.visible("cache");
    assert!(
        expected
            .keys()
            .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
            .count()
            > 12
    );

    let killed = Workplace::with_rows(120, 200);
    let (mut kills, mut committed) = (0, Vec::new());
    // Killed at later and later writes; each process continues where the last one was killed.
    for number in (1..=14).map(|part| 5 * part) {
        kills += usize::from(killed.start_held(&PRECOMPUTE, "writes", number).kill());
        // A reader never sees a partial file.
        let so_far = killed.visible("cache");
        for (path, bytes) in &so_far {
            assert_eq!(
                Some(bytes),
                expected.get(path),
                "`{}` differs after a kill",
                path.display()
            );
        }
        committed.push(so_far.len());
    }
    killed.succeed(&PRECOMPUTE);
    assert_eq!(killed.visible("cache"), expected);
    assert!(kills >= 3, "{kills} kills: {committed:?}");
    assert!(
        committed.windows(2).any(|pair| pair[0] < pair[1]),
        "the kills found no work in between: {committed:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_terminated_stage_exits_75_and_the_same_command_finishes_it() {
    let whole = Workplace::with_rows(120, 200);
    whole.succeed(&PRECOMPUTE);
    whole.succeed(&TRAIN);

    let stopped = Workplace::with_rows(120, 200);
    // While it prepares, at the second batch, before the first checkpoint, and after the second step.
    for (arguments, kind, number) in [
        (PRECOMPUTE, "writes", 20),
        (PRECOMPUTE, "tokens", 2),
        (TRAIN, "steps", 2),
    ] {
        if kind == "tokens" {
            // The previous case has completed the cache.
            fs::remove_dir_all(stopped.path("cache")).unwrap();
        }
        let held = stopped.start_held(&arguments, kind, number);
        assert_eq!(held.terminate(), Some(75), "{arguments:?} at {number} {kind}");
        assert!(!stopped.path("run/model").exists());
        stopped.succeed(&arguments);
        // A process that is stopped while it prepares or loads may leave hidden files, as a killed one does. The same command
        // removes them. The lock of a run stays as an empty file, and the hashes of teacher and data are stored.
        for path in stopped.contents().into_keys() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(
                !name.starts_with('.') || [".lock", ".weights.json", ".data.json"].contains(&name.as_str()),
                "`{}` was left",
                path.display()
            );
        }
    }
    assert_eq!(stopped.visible("cache"), whole.visible("cache"));
    let weights = |place: &Workplace| fs::read(place.path("run/model/model.safetensors")).unwrap();
    assert_eq!(weights(&stopped), weights(&whole));
}

#[test]
fn two_workers_make_what_one_makes() {
    let one = Workplace::with_rows(60, 100);
    one.succeed(&PRECOMPUTE);
    let two = Workplace::with_rows(60, 100);
    let mut workers =
        ["0/2", "1/2"].map(|worker| two.start(&["precompute", "-c", "pipeline.toml", "--worker", worker]));
    for worker in &mut workers {
        assert_eq!(worker.wait().unwrap().code(), Some(0));
    }
    assert_eq!(two.visible("cache"), one.visible("cache"));
}
