//! Workers that are killed, disks that are full and folders that cannot be written to, with the real program: what is left
//! is never partial, and the same commands end with the same bytes.

use std::{collections::BTreeMap, path::PathBuf, process::Output};

use crate::{
    program::{Held, Moments, Workplace, visible, wait_until},
    small_disk::SmallDisk,
};

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const WORKERS: usize = 3;

/// What one uninterrupted worker makes of the rows of every test here.
fn uninterrupted() -> BTreeMap<PathBuf, Vec<u8>> {
    let place = rows();
    place.succeed(&PRECOMPUTE);
    place.visible("cache")
}

fn rows() -> Workplace {
    Workplace::with_rows(120, 200)
}

/// Makes sure that everything in `found` is as it should be; what is missing is not there yet.
fn assert_nothing_partial(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>, when: &str) {
    for (path, bytes) in found {
        assert_eq!(Some(bytes), expected.get(path), "`{}` differs {when}", path.display());
    }
}

/// Lets three workers fill caches and kills one of them after the other, each before a write, until there were enough kills,
/// a quarter of them after a commit; every cache is completed by running the same commands again.
///
/// In every other cache the workers share the work; in the others each wants all of it, so that they race for every unit.
fn kill_workers(kills_wanted: usize, seed: u64) {
    let expected = uninterrupted();
    let mut moments = Moments::new(seed);
    let (mut kills, mut caches, mut kills_after_a_commit) = (0, 0, 0);
    while kills < kills_wanted || kills_after_a_commit <= kills / 4 {
        assert!(caches < 100, "{kills} kills, {kills_after_a_commit} after a commit");
        let place = rows();
        // No cache takes more than half of them, so that some fall to either kind.
        let enough = kills + kills_wanted.div_ceil(2);
        let shared = caches % 2 == 0;
        // A process that prepares writes some fifty times before the first unit, and some fifteen times for each.
        let mut start = |worker: usize| -> Held {
            let of = format!("{worker}/{WORKERS}");
            let apart = ["--worker", of.as_str()];
            let arguments = [&PRECOMPUTE[..], if shared { &apart[..] } else { &[] }].concat();
            place.start_held(&arguments, "writes", 1 + moments.next(50))
        };
        let mut workers: Vec<Option<Held>> = (0..WORKERS).map(|worker| Some(start(worker))).collect();
        while workers.iter().any(Option::is_some) {
            let mut first = None;
            wait_until("a worker waits or ends", || {
                first = workers.iter_mut().position(|worker| {
                    let worker = worker.as_mut();
                    worker.is_some_and(|worker| worker.is_held() || worker.ended().is_some())
                });
                first.is_some()
            });
            let victim = first.unwrap();
            let mut worker = workers[victim].take().unwrap();
            if let Some(status) = worker.ended() {
                assert_eq!(status.code(), Some(0), "a worker beside killed ones failed");
                continue;
            }
            if kills >= enough {
                worker.release();
                workers[victim] = Some(worker);
                continue;
            }
            assert!(worker.kill());
            kills += 1;
            let left = place.visible("cache");
            kills_after_a_commit += usize::from(left.keys().any(|path| path.starts_with("layers")));
            assert_nothing_partial(&left, &expected, "after a kill");
            workers[victim] = Some(start(victim));
        }
        assert!(place.visible("cache") == expected, "cache {caches} ended differently");
        place.succeed(&["cache", "verify", "cache"]);
        // No temporary of a killed writer is left either.
        let hidden = place.contents().into_keys();
        let temporary = |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp");
        assert_eq!(hidden.filter(temporary).collect::<Vec<_>>(), [] as [PathBuf; 0]);
        caches += 1;
    }
    assert!(caches > 1, "{kills} kills in one cache");
}

#[test]
fn workers_killed_at_ten_moments_leave_what_one_worker_makes() {
    kill_workers(10, 1);
}

#[test]
#[ignore = "the long suite: about two minutes"]
fn workers_killed_at_a_hundred_moments_leave_what_one_worker_makes() {
    kill_workers(100, 2);
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_disk_loses_nothing_and_the_same_command_ends_with_the_same_bytes_once_there_is_room() {
    let expected = uninterrupted();
    let needed = expected
        .values()
        .map(|bytes| bytes.len().next_multiple_of(4096) / 1024)
        .sum::<usize>();
    let mut commits = Vec::new();
    for percent in [2, 10, 25, 40, 55, 70, 85, 97] {
        let place = rows();
        let dir = place.path("cache");
        let Some(disk) = SmallDisk::mount(&dir, (needed * percent / 100).max(4)) else {
            return;
        };
        let output = place.run(&PRECOMPUTE);
        let message = message(&output);
        assert_eq!(output.status.code(), Some(1), "{percent} %: {message}");
        assert!(
            message.contains("No space left on device") && message.contains("hint: free some space"),
            "{message}"
        );
        let left = visible(&dir);
        assert_nothing_partial(&left, &expected, "on a full disk");
        commits.push(left.len());
        // What was committed stays through a second failure.
        assert_eq!(place.run(&PRECOMPUTE).status.code(), Some(1));
        let after = visible(&dir);
        assert!(left.keys().all(|path| after.contains_key(path)));
        disk.remount("size=64m");
        place.succeed(&PRECOMPUTE);
        assert!(visible(&dir) == expected, "{percent} %: ended differently");
    }
    assert!(commits.is_sorted() && commits.first() < commits.last(), "{commits:?}");
}

#[test]
fn a_cache_on_a_read_only_disk_is_read_and_what_would_write_to_it_is_refused() {
    let place = rows();
    let dir = place.path("cache");
    let Some(disk) = SmallDisk::mount(&dir, 1 << 16) else {
        return;
    };
    place.succeed(&["precompute", "-c", "pipeline.toml", "--proportion", "0.5"]);
    let before = visible(&dir);
    disk.remount("ro");
    // Everything that only reads works, what would be done again included.
    place.succeed(&["cache", "inspect", "cache"]);
    place.succeed(&["cache", "verify", "cache"]);
    place.succeed(&["cache", "export", "cache", "--out", "export.parquet"]);
    let half = [
        "train",
        "-c",
        "pipeline.toml",
        "--set",
        "train.lead_span_proportion=0.5",
    ];
    place.succeed(&half);
    let audit = ["cache", "audit", "-c", "pipeline.toml", "--positions", "20"];
    place.succeed(&audit);
    let again = place.succeed(&["precompute", "-c", "pipeline.toml", "--proportion", "0.5"]);
    assert!(again.contains("nothing was left to do"), "{again}");
    // More cannot be captured, and that is said with the folder's name.
    let output = place.run(&PRECOMPUTE);
    let message = message(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("Read-only file system") && message.contains("cache") && message.contains("write access"),
        "{message}"
    );
    assert!(visible(&dir) == before);
}
