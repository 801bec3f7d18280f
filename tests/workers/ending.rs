//! Workers that are killed or stopped: together they leave what one worker makes.

use std::time::{Duration, Instant};

use super::{PRECOMPUTE, assert_nothing_hidden, rows};
use crate::program::{Held, Moments, terminate, wait_until};

/// Asks a held process to stop, or kills it.
fn end(held: Held, asked: bool) {
    if asked {
        let code = held.terminate();
        assert!(matches!(code, Some(0 | 75)), "{code:?}");
    } else {
        assert!(held.kill());
    }
}

/// Lets `workers` workers fill caches, and ends one after the other before a write, by SIGTERM or SIGKILL, until there were
/// enough ends and more than a quarter of them came after a commit. Each cache is completed by running the same commands again.
fn end_workers(workers: usize, ends_wanted: usize, claim: bool, seed: u64) {
    let whole = rows();
    whole.succeed(&PRECOMPUTE);
    let expected = whole.visible("cache");
    let mut moments = Moments::new(seed);
    let (mut ends, mut caches, mut ends_in_between) = (0, 0, 0);
    while ends < ends_wanted || ends_in_between <= ends / 4 {
        assert!(caches < 100, "{ends} ends, {ends_in_between} after a commit");
        let place = rows();
        let start = |worker: usize, number: u64| -> Held {
            let of = format!("{worker}/{workers}");
            let arguments = [&PRECOMPUTE[..], &["--worker", &of]].concat();
            let arguments = [&arguments[..], if claim { &["--claim"] } else { &[] }].concat();
            place.start_held(&arguments, "writes", number)
        };
        let mut running: Vec<Option<Held>> = Vec::new();
        for worker in 0..workers {
            running.push(Some(start(worker, 1 + moments.next(50))));
        }
        let enough = ends + ends_wanted.div_ceil(2);
        while running.iter().any(Option::is_some) {
            let mut first = None;
            wait_until("a worker waits or ends", || {
                first = running.iter_mut().position(|worker| {
                    let worker = worker.as_mut();
                    worker.is_some_and(|worker| worker.is_held() || worker.ended().is_some())
                });
                first.is_some()
            });
            let victim = first.unwrap();
            let mut held = running[victim].take().unwrap();
            if let Some(status) = held.ended() {
                assert_eq!(status.code(), Some(0), "a worker beside killed ones failed");
                continue;
            }
            if ends >= enough {
                held.release();
                running[victim] = Some(held);
                continue;
            }
            end(held, moments.next(2) == 0);
            ends += 1;
            let left = place.visible("cache");
            ends_in_between += usize::from(left.keys().any(|path| path.starts_with("layers")));
            for (path, bytes) in &left {
                assert_eq!(Some(bytes), expected.get(path), "`{}` differs", path.display());
            }
            running[victim] = Some(start(victim, 1 + moments.next(50)));
        }
        assert!(place.visible("cache") == expected, "cache {caches} ended differently");
        place.succeed(&["cache", "verify", "cache"]);
        assert_nothing_hidden(&place);
        caches += 1;
    }
    assert!(caches > 1, "{ends} ends in one cache");
}

#[test]
fn workers_that_claim_and_are_ended_at_any_moment_leave_what_one_worker_makes() {
    end_workers(3, 8, true, 1);
}

#[test]
#[ignore = "the long suite: half a minute on two free cores"]
fn eight_workers_that_are_ended_at_a_hundred_moments_leave_what_one_worker_makes() {
    end_workers(8, 100, false, 2);
}

#[test]
#[ignore = "the long suite: half a minute on two free cores"]
fn eight_workers_that_claim_and_are_ended_at_a_hundred_moments_leave_what_one_worker_makes() {
    end_workers(8, 100, true, 3);
}

#[test]
#[ignore = "the long suite: it measures wall time"]
fn a_worker_that_is_asked_to_stop_ends_within_ten_seconds() {
    let mut ends_in_between = 0;
    // While it prepares, while it captures, and near its end.
    for number in [1, 10, 20, 40, 60, 80] {
        let place = rows();
        let mut held = place.start_held(&[&PRECOMPUTE[..], &["--claim"]].concat(), "writes", number);
        assert!(held.comes(), "it ended before write {number}");
        let asked = Instant::now();
        let code = terminate(&mut held.child);
        let elapsed = asked.elapsed();
        assert!(matches!(code, Some(0 | 75)), "{code:?} at write {number}");
        assert!(elapsed < Duration::from_secs(10), "{elapsed:?} at write {number}");
        let committed = place.visible("cache");
        ends_in_between += usize::from(committed.keys().any(|path| path.starts_with("layers")));
    }
    assert!(ends_in_between > 0, "no worker was stopped while it captured");
}
