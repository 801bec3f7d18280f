//! Stops, with the real program: by a signal at any moment, twice, and when a time is up; how long they take, what they leave,
//! and what the log ends with.

#![cfg(unix)]

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::program::{Moments, Workplace, terminate};

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

/// Starts a command whose log is read when it has ended.
fn start(place: &Workplace, arguments: &[&str]) -> Child {
    place
        .command(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
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
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        if caught.is_none_or(|mask| mask & TERM != 0) {
            return;
        }
        assert!(Instant::now() < deadline, "it never listens");
        sleep(Duration::from_millis(1));
    }
}

/// The last line of a log.
fn last_line(output: &Output) -> Value {
    let log = String::from_utf8_lossy(&output.stderr);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("{\"leadspan\":"), "{log}");
    serde_json::from_str(last).unwrap()
}

#[test]
fn a_signal_at_any_moment_ends_a_command_in_time_and_leaves_what_the_same_command_completes() {
    let whole = workplace();
    let commands = ["prepare", "precompute", "train", "evaluate", "sweep"];
    let of = |command: &'static str| {
        let model: &[&str] = if command == "evaluate" {
            &["--model", "run/model"]
        } else {
            &[]
        };
        [&[command, "-c", "pipeline.toml"], model].concat()
    };
    let takes: Vec<Duration> = commands
        .iter()
        .map(|command| {
            let began = Instant::now();
            whole.succeed(&of(command));
            began.elapsed()
        })
        .collect();
    let place = workplace();
    let mut moments = Moments::new(9);
    let mut stopped = 0;
    for (command, takes) in commands.into_iter().zip(takes) {
        for _ in 0..4 {
            let child = start(&place, &of(command));
            wait_until_it_listens(&child);
            // Each goes on where the last one was stopped, so few come to their end.
            sleep(Duration::from_micros(moments.next(takes.as_micros() as u64 / 4)));
            let began = Instant::now();
            signal("TERM", &child);
            let output = child.wait_with_output().unwrap();
            assert!(began.elapsed() < PROMISED, "{command}: {:?}", began.elapsed());
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
    assert!(stopped >= 5, "only {stopped} of 20 came in time");
    for dir in ["cache", "run/model", "runs/seed-0/model", "runs/seed-1/model"] {
        assert!(place.visible(dir) == whole.visible(dir), "`{dir}` ended differently");
    }
    let answers = |place: &Workplace| fs::read(place.path("run/evaluation/answers.jsonl")).unwrap();
    assert!(answers(&place) == answers(&whole));
}

/// A sweep whose run takes long, and the process of that.
fn long_sweep(place: &Workplace, more: &[&str]) -> (Child, u32) {
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let long = ["sweep", "-c", "pipeline.toml", "--set", "train.epochs=9000"];
    let sweep = start(place, &[&long[..], more].concat());
    let metrics = place.path("runs/seed-0/metrics.jsonl");
    let deadline = Instant::now() + Duration::from_mins(1);
    while fs::metadata(&metrics).map_or(0, |metadata| metadata.len()) < 2000 {
        assert!(Instant::now() < deadline, "nothing happened");
        sleep(Duration::from_millis(5));
    }
    let children = format!("/proc/{id}/task/{id}/children", id = sweep.id());
    let run = fs::read_to_string(children).unwrap();
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

#[test]
fn the_same_signal_twice_within_a_second_is_one_and_a_later_one_ends_the_program_at_once() {
    let place = workplace();
    let (sweep, run) = long_sweep(&place, &["--grace", "1m"]);
    // A run that cannot stop holds up its sweep.
    signal_number("STOP", run);
    signal("TERM", &sweep);
    signal("TERM", &sweep);
    sleep(Duration::from_millis(1300));
    let log_so_far = fs::read_to_string(format!("/proc/{}/status", sweep.id())).unwrap();
    assert!(!log_so_far.contains("zombie"), "the second of two ended it");
    let began = Instant::now();
    signal("TERM", &sweep);
    let output = sweep.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(output.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped at once by a second signal"));
    assert_eq!(last_line(&output)["outcome"], "stopped");
    // It goes on, and finds that it is to stop.
    signal_number("CONT", run);
    let ended = place.path("runs/seed-0/train.log");
    let deadline = Instant::now() + Duration::from_mins(1);
    while !fs::read_to_string(&ended).unwrap().contains("\"outcome\":\"stopped\"") {
        assert!(Instant::now() < deadline, "the run goes on");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_stop_that_takes_longer_than_it_may_ends_the_program_all_the_same() {
    let place = workplace();
    let (sweep, run) = long_sweep(&place, &["--grace", "1s"]);
    signal_number("STOP", run);
    let began = Instant::now();
    signal("INT", &sweep);
    let output = sweep.wait_with_output().unwrap();
    signal_number("KILL", run);
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(1) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert_eq!(output.status.code(), Some(75));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("for want of time: run the same command again"), "{log}");
    assert_eq!(last_line(&output)["stopped_by"], "SIGINT");
}

#[test]
fn a_time_that_is_up_stops_as_a_signal_does() {
    let place = workplace();
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let more = ["--set", "train.epochs=9000", "--stop-after", "2s"];
    for command in ["train", "sweep"] {
        let began = Instant::now();
        let output = place.run(&[&[command, "-c", "pipeline.toml"][..], &more].concat());
        let took = began.elapsed();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(75), "{log}");
        assert!(
            took >= Duration::from_secs(2) && took < Duration::from_secs(2) + PROMISED,
            "{took:?}"
        );
        assert!(
            log.contains("stopped after 2 s, as `--stop-after` says: run the same command again"),
            "{log}"
        );
        assert_eq!(last_line(&output)["stopped_by"], "stop-after");
    }
    for dir in ["run", "runs/seed-0"] {
        assert!(
            fs::read_dir(place.path(dir).join("checkpoints"))
                .unwrap()
                .next()
                .is_some(),
            "{dir}"
        );
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
    let mut workers = [worker("0/3"), worker("1/3"), worker("2/3")];
    let beat = place.path("cache/.workers/1.3.json");
    let deadline = Instant::now() + Duration::from_mins(1);
    while !beat.exists() {
        assert!(Instant::now() < deadline, "no sign of life");
        sleep(Duration::from_millis(1));
    }
    signal("STOP", &workers[1]);
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
    let mut views = std::io::BufReader::new(watching.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut views, &mut first).unwrap();
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
    signal("CONT", &workers[1]);
    for worker in &mut workers {
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
