//! Sweeps that are killed or stopped, and their runs.

use std::{fs, path::PathBuf, process::Stdio};

use super::{SWEEP, captured, ended, folders, table};
use crate::program::{Held, Moments, terminate, wait_until};

/// Kills sweeps until there were `kills_wanted` kills, and completes each. A sweep is killed before one of its own writes, or
/// while one of its runs is held after a step.
fn kill_sweeps(kills_wanted: usize, seed: u64) {
    let place = captured();
    let said = place.succeed(&SWEEP);
    let expected = ended(&place, "runs");
    fs::rename(place.path("runs"), place.path("whole")).unwrap();

    let mut moments = Moments::new(seed);
    let mut kills = 0;
    let mut begun = 0;
    while kills < kills_wanted {
        // A run has about eight steps. The processes of a finished run count none.
        let held = if kills % 2 == 0 {
            place.start_held(&SWEEP, "steps", 1 + moments.next(4))
        } else {
            place.start_held(&SWEEP, "writes", 1 + moments.next(60))
        };
        kills += usize::from(held.kill());
        let unfinished = folders(&place, "runs").into_iter().filter(|name| {
            let has = |file: &str| place.path(&format!("runs/{name}/{file}")).exists();
            has("run.json") && !has("evaluation/summary.json")
        });
        begun += unfinished.count();
        if folders(&place, "runs").len() == 9 && kills < kills_wanted {
            assert_eq!(table(&place.succeed(&SWEEP)), table(&said));
            fs::remove_dir_all(place.path("runs")).unwrap();
        }
    }
    assert!(begun > 0, "no kill came into the middle of a run");
    assert_eq!(table(&place.succeed(&SWEEP)), table(&said));
    let found = ended(&place, "runs");
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, kept) in &expected {
        assert!(
            found[path] == *kept,
            "{}: {:?} {:?}",
            path.display(),
            found[path].as_ref().err(),
            kept.as_ref().err()
        );
    }
    let temporary = |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp");
    assert!(!place.contents().keys().any(temporary), "a temporary was left");
}

#[test]
fn a_sweep_killed_at_four_moments_and_run_again_ends_with_the_same_table() {
    kill_sweeps(4, 5);
}

#[test]
#[ignore = "the long suite: about half a minute"]
fn a_sweep_killed_at_thirty_moments_and_run_again_ends_with_the_same_table() {
    kill_sweeps(30, 6);
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_terminated_stops_its_run_and_says_so() {
    let place = captured();
    let mut command = place.command(&SWEEP);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut sweep = Held::start(&mut command, "steps", 3);
    assert!(sweep.comes());
    assert_eq!(terminate(&mut sweep.child), Some(75));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut sweep.child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(
        said.contains("stopped by a signal: run the same command again"),
        "{said}"
    );
    let log = fs::read_to_string(place.path("runs/proportion-0.5-seed-0/train.log")).unwrap();
    assert!(
        log.contains("stopping: dropping the step at hand and writing a checkpoint"),
        "{log}"
    );
    assert!(place.path("runs/proportion-0.5-seed-0/checkpoints").is_dir());
    assert_eq!(folders(&place, "runs").len(), 1);
    let dry = place.succeed(&[&SWEEP[..], &["--dry-run"]].concat());
    assert!(dry.starts_with("proportion-0.5-seed-0: begun\n"), "{dry}");
}

#[test]
fn a_run_does_not_outlive_its_sweep() {
    let place = captured();
    let mut sweep = place.start_held(&SWEEP, "steps", 3);
    assert!(sweep.comes());
    sweep.child.kill().unwrap();
    sweep.child.wait().unwrap();
    // The run stops by itself, as if it had been asked to.
    let log = place.path("runs/proportion-0.5-seed-0/train.log");
    wait_until("the run stops", || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains("stopped by a signal: run the same command again\n")
    });
    let lock = fs::File::open(place.path("runs/proportion-0.5-seed-0/.lock")).unwrap();
    assert!(lock.try_lock().is_ok());
    assert!(place.path("runs/proportion-0.5-seed-0/checkpoints").is_dir());
}
