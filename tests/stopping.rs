//! Stops, with the real program: by a signal at any moment, twice, and when a time is up; how long they take, what they leave,
//! and what the log ends with.

#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader, Read as _},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::program::{Held, Moments, Workplace, terminate, wait_until};

const EVALUATE: &str = "
[evaluate]
files = [\"text.jsonl\"]
format = \"columns\"
max_new_tokens = 40
problems = 40
batch_samples = 3

[sweep]
dir = \"runs\"
seed = [0, 1]
";

/// More than the ten seconds that are promised would be too many, however busy the machine is.
const PROMISED: Duration = Duration::from_secs(10);

/// A workplace in which every command has something to do.
fn workplace() -> Workplace {
    let place = Workplace::with_rows(120, 200);
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap() + EVALUATE;
    place.write("pipeline.toml", &pipeline);
    place
}

/// Starts a command that is to wait at a counted event, and whose log is read when it has ended.
fn start(place: &Workplace, arguments: &[&str], kind: &str, number: u64) -> Held {
    let mut command = place.command(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Held::start(&mut command, kind, number)
}

/// The log and the exit code of a command, when it has ended. Its marker goes last: a run of a sweep may wait there.
fn output(held: Held) -> Output {
    let Held { child, folder } = held;
    let output = child.wait_with_output().unwrap();
    drop(folder);
    output
}

fn signal(name: &str, child: &Child) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Waits until the process takes SIGTERM itself: before that it is the system that ends it.
fn wait_until_it_listens(child: &Child) {
    const TERM: u64 = 1 << 14;
    wait_until("the program listens", || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_none_or(|mask| mask & TERM != 0)
    });
}

/// The last line of a log.
fn last_line(output: &Output) -> Value {
    let log = String::from_utf8_lossy(&output.stderr);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("{\"leadspan\":"), "{log}");
    serde_json::from_str(last).unwrap()
}

/// Stops every command at counted moments, before a write or after a report of progress; within `longest`, if that is given.
fn stop_at_any_moment(longest: Option<Duration>) {
    let whole = workplace();
    // Each goes on where the last one was stopped, so few come to their end.
    let commands = [
        ("prepare", "bytes", 1, 40),
        ("precompute", "tokens", 6, 60),
        ("train", "steps", 3, 30),
        ("evaluate", "problems", 8, 9),
        ("sweep", "steps", 4, 5),
    ];
    let of = |command: &'static str| {
        let model: &[&str] = if command == "evaluate" {
            &["--model", "run/model"]
        } else {
            &[]
        };
        [&[command, "-c", "pipeline.toml"], model].concat()
    };
    for (command, ..) in commands {
        whole.succeed(&of(command));
    }
    let place = workplace();
    let mut moments = Moments::new(9);
    let mut stopped = 0;
    for (command, counted, counts, writes) in commands {
        for turn in 0..4 {
            let (kind, number) = match turn % 2 {
                0 => ("writes", 1 + moments.next(writes)),
                _ => (counted, 1 + moments.next(counts)),
            };
            let mut held = start(&place, &of(command), kind, number);
            held.comes();
            let began = Instant::now();
            if held.ended().is_none() {
                signal("TERM", &held.child);
            }
            let output = output(held);
            if let Some(longest) = longest {
                assert!(began.elapsed() < longest, "{command}: {:?}", began.elapsed());
            }
            let last = last_line(&output);
            let log = String::from_utf8_lossy(&output.stderr);
            assert_eq!(last["leadspan"], command, "{log}");
            assert_eq!(
                output.status.code().map(Value::from).as_ref(),
                Some(&last["exit_code"]),
                "{log}"
            );
            match output.status.code() {
                Some(75) => {
                    stopped += 1;
                    assert_eq!(
                        (&last["outcome"], &last["stopped_by"]),
                        (&"stopped".into(), &"SIGTERM".into())
                    );
                }
                code => assert_eq!((code, &last["outcome"]), (Some(0), &"done".into()), "{log}"),
            }
            let settled = |path: &std::path::PathBuf| path.extension().is_none_or(|end| end != "tmp");
            let prepared = place.visible("cache").into_keys().all(|path| settled(&path));
            assert!(prepared, "something partial is visible");
        }
        place.succeed(&of(command));
    }
    assert!(stopped >= 10, "only {stopped} of 20 stopped anything");
    for dir in ["cache", "run/model", "runs/seed-0/model", "runs/seed-1/model"] {
        assert!(place.visible(dir) == whole.visible(dir), "`{dir}` ended differently");
    }
    let answers = |place: &Workplace| fs::read(place.path("run/evaluation/answers.jsonl")).unwrap();
    assert!(answers(&place) == answers(&whole));
}

#[test]
fn a_signal_at_any_moment_ends_a_command_and_leaves_what_the_same_command_completes() {
    stop_at_any_moment(None);
}

#[test]
#[ignore = "the long suite: it holds stops to the ten seconds that are promised, which a busy machine may not keep"]
fn a_signal_at_any_moment_ends_a_command_in_time() {
    stop_at_any_moment(Some(PROMISED));
}

/// A sweep whose run waits after its second step, and the process of that run.
fn waiting_sweep(place: &Workplace, more: &[&str]) -> (Held, u32) {
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let arguments = ["sweep", "-c", "pipeline.toml"];
    let mut sweep = start(place, &[&arguments[..], more].concat(), "steps", 2);
    assert!(sweep.comes());
    // A thread of the sweep has started it.
    let threads = fs::read_dir(format!("/proc/{}/task", sweep.child.id())).unwrap();
    let children = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    let run = children.collect::<String>();
    (sweep, run.trim().parse().unwrap())
}

fn signal_number(name: &str, id: u32) {
    assert!(
        Command::new("kill")
            .args(["-s", name, &id.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Reads a log until it has `text`.
fn read_until(log: &mut impl BufRead, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        assert!(log.read_line(&mut read).unwrap() > 0, "`{text}` never came: {read}");
    }
    read
}

/// That the same signal twice within a second is one is tested beside the code, with a clock of its own.
#[test]
fn a_second_signal_after_a_second_ends_the_program_at_once() {
    let place = workplace();
    let (mut sweep, run) = waiting_sweep(&place, &["--grace", "30m"]);
    // A run that cannot stop holds up its sweep.
    signal_number("STOP", run);
    signal("TERM", &sweep.child);
    let mut log = BufReader::new(sweep.child.stderr.take().unwrap());
    let mut said = read_until(&mut log, "stopping: ");
    // At least so long: the first signal came before that line.
    sleep(Duration::from_millis(1100));
    assert!(sweep.ended().is_none(), "the first signal ended it");
    signal("TERM", &sweep.child);
    log.read_to_string(&mut said).unwrap();
    assert_eq!(sweep.child.wait().unwrap().code(), Some(75));
    assert!(said.contains("stopped at once by a second signal"), "{said}");
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(last["outcome"], "stopped");
    // The run goes on, and finds that it is to stop.
    signal_number("CONT", run);
    let ended = place.path("runs/seed-0/train.log");
    wait_until("the run stops", || {
        fs::read_to_string(&ended).unwrap().contains("\"outcome\":\"stopped\"")
    });
}

/// Stops a sweep whose run cannot stop; returns how long that took.
fn stop_in_vain() -> Duration {
    let place = workplace();
    let (sweep, run) = waiting_sweep(&place, &["--grace", "1s"]);
    signal_number("STOP", run);
    let began = Instant::now();
    signal("INT", &sweep.child);
    let output = output(sweep);
    signal_number("KILL", run);
    assert_eq!(output.status.code(), Some(75));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        log.contains("before everything was saved: run the same command again"),
        "{log}"
    );
    assert_eq!(last_line(&output)["stopped_by"], "SIGINT");
    began.elapsed()
}

#[test]
fn a_stop_that_takes_longer_than_it_may_ends_the_program_all_the_same() {
    let took = stop_in_vain();
    assert!(took > Duration::from_secs(1), "{took:?}");
}

#[test]
#[ignore = "the long suite: it asserts that a stop ends within eight seconds, which a busy machine may not keep"]
fn a_stop_that_takes_longer_than_it_may_ends_the_program_in_time() {
    let took = stop_in_vain();
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_time_that_is_up_stops_as_a_signal_does() {
    let place = workplace();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    for (command, dir) in [("train", "run"), ("sweep", "runs/seed-0")] {
        // A busy machine may not have begun to train when the time is up; then it is given more.
        let mut seconds = 2;
        loop {
            let time = format!("{seconds}s");
            let mut held = start(
                &place,
                &[command, "-c", "pipeline.toml", "--stop-after", &time],
                "steps",
                2,
            );
            let began = held.comes();
            let output = output(held);
            let log = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(75), "{log}");
            let last = last_line(&output);
            assert!(last["seconds"].as_f64() >= Some(seconds.into()), "{log}");
            assert_eq!(last["stopped_by"], "stop-after");
            let message = format!("stopped after {seconds} s, as `--stop-after` says: run the same command again");
            assert!(log.contains(&message), "{log}");
            if began {
                break;
            }
            seconds *= 2;
            assert!(seconds < 60, "it never begins to train: {log}");
        }
        let mut checkpoints = fs::read_dir(place.path(dir).join("checkpoints")).unwrap();
        assert!(checkpoints.next().is_some(), "{dir}");
    }
    // Before anything is worth keeping, too.
    let place = workplace();
    let output = place.run(&["precompute", "-c", "pipeline.toml", "--stop-after", "2 weeks"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_last_line_of_a_log_says_how_the_command_ended() {
    let place = workplace();
    let done = place.run(&["precompute", "-c", "pipeline.toml", "--worker", "0/2"]);
    let last = last_line(&done);
    assert_eq!((&last["outcome"], &last["exit_code"]), (&"done".into(), &0.into()));
    assert_eq!((&last["worker"], &last["units_written"]), (&"0/2".into(), &6.into()));
    assert!(last["tokens"].as_u64().unwrap() > 0 && last["seconds"].as_f64().unwrap() > 0.0);
    // A line for each unit, with the rate and the time left.
    let log = String::from_utf8_lossy(&done.stderr).into_owned();
    let units: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("work units, committed"))
        .collect();
    assert_eq!(units.len(), 6, "{log}");

    let failed = place.run(&["train", "-c", "pipeline.toml"]);
    let last = last_line(&failed);
    assert_eq!((&last["outcome"], &last["exit_code"]), (&"failed".into(), &1.into()));
    let error = last["error"].as_str().unwrap();
    assert!(error.starts_with("could not train `run`: "), "{error}");

    let quiet = place.run(&["precompute", "-c", "pipeline.toml", "--log-level", "warn"]);
    assert!(quiet.stderr.is_empty(), "{}", String::from_utf8_lossy(&quiet.stderr));
}

#[test]
fn whoever_watches_a_cache_sees_its_workers_and_who_has_stalled() {
    let place = Workplace::with_rows(400, 400);
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    let capture = ["precompute", "-c", "pipeline.toml", "--worker"];
    let worker = |worker: &str| place.start(&[&capture[..], &[worker]].concat());
    let mut held = place.start_held(&[&capture[..], &["1/3"]].concat(), "tokens", 1);
    let mut others = [worker("0/3"), worker("2/3")];
    let beat = place.path("cache/.workers/1.3.json");
    wait_until("there is a sign of life", || beat.exists());
    assert!(held.comes());
    signal("STOP", &held.child);
    let long_ago = std::time::SystemTime::now() - Duration::from_mins(2);
    let file = fs::File::options().write(true).open(&beat).unwrap();
    file.set_modified(long_ago).unwrap();
    let watch = ["cache", "inspect", "cache", "--watch", "1"];
    let mut watching = place
        .command(&watch)
        .arg("--json")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut views = BufReader::new(watching.stdout.take().unwrap());
    let mut first = String::new();
    views.read_line(&mut first).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    let stalled: Vec<&Value> = first["workers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|worker| worker["stalled"] == true)
        .map(|worker| &worker["worker"])
        .collect();
    assert_eq!(stalled, ["1/3"], "{first}");
    assert_eq!(first["complete"], false);
    held.release();
    signal("CONT", &held.child);
    for worker in others.iter_mut().chain([&mut held.child]) {
        assert_eq!(worker.wait().unwrap().code(), Some(0));
    }
    assert_eq!(
        watching.wait().unwrap().code(),
        Some(0),
        "it ends when the cache is complete"
    );
    assert!(
        !place.path("cache/.workers").exists(),
        "signs of life go when nothing is left to do"
    );
    let table = place.succeed(&watch);
    assert!(table.contains("complete   nothing is left to do"), "{table}");
    // What is hidden is no part of the cache.
    place.succeed(&["cache", "verify", "cache"]);

    let mut waiting = place.start(&["cache", "inspect", "not-there", "--watch"]);
    wait_until_it_listens(&waiting);
    assert_eq!(terminate(&mut waiting), Some(75));
}
