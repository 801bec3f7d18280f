//! Many workers on one cache, as a batch scheduler starts and kills them: with fixed shares and with claims, they leave what
//! one worker leaves; and what is missing is told by task.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::program::{Held, Moments, Workplace, wait_until};

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];

fn rows() -> Workplace {
    Workplace::with_rows(120, 200)
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks a process that waits to stop, or kills it.
fn end(held: Held, asked: bool) {
    if asked {
        let code = held.terminate();
        assert!(matches!(code, Some(0 | 75)), "{code:?}");
    } else {
        assert!(held.kill());
    }
}

/// Lets so many workers fill caches and ends one of them after the other, each before a write, by SIGTERM or SIGKILL, until
/// there were enough ends, a quarter of them after a commit; every cache is completed by running the same commands again.
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
        // A killed worker's last sign of life may be there for who watches.
        assert_nothing_hidden(&place, &[".workers"]);
        caches += 1;
    }
    assert!(caches > 1, "{ends} ends in one cache");
}

/// No temporary and no claim of a dead worker is left, nor anything else that is hidden, `but` what is named.
fn assert_nothing_hidden(place: &Workplace, but: &[&str]) {
    let hidden = place.contents().into_keys().filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with('.')
            && name != ".weights.json"
            && name != ".data.json"
            && !but.contains(&&*name)
            && path.starts_with(place.path("cache"))
    });
    assert_eq!(hidden.collect::<Vec<_>>(), [] as [PathBuf; 0]);
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

/// The folder of the only layer of a workplace's cache.
fn layer(place: &Workplace) -> PathBuf {
    let mut folders = fs::read_dir(place.path("cache/layers")).unwrap();
    folders.next().unwrap().unwrap().path()
}

/// Removes some units of the only layer, as if nobody had done them.
fn remove_units(place: &Workplace, units: &[&str]) {
    let layer = layer(place);
    fs::remove_file(layer.join("manifest.json")).unwrap();
    for unit in units {
        for end in ["parquet", "json"] {
            fs::remove_file(layer.join(format!("{unit}.{end}"))).unwrap();
        }
    }
}

/// Runs a command until its log has `line`, ends the lease of the claim that it waits for, and lets it come to its end.
fn expire_when_waited_for(place: &Workplace, arguments: &[&str], claim: &Path, line: &str) -> (Option<i32>, String) {
    let mut command = place.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut log, mut stderr) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
    while !log.contains(line) {
        assert!(stderr.read_line(&mut log).unwrap() > 0, "it never waited: {log}");
    }
    assert!(claim.exists(), "a claim was taken over while its lease ran");
    let file = fs::File::options().write(true).open(claim).unwrap();
    let renewed = file.metadata().unwrap().modified().unwrap();
    file.set_modified(renewed - Duration::from_hours(1)).unwrap();
    drop(file);
    stderr.read_to_string(&mut log).unwrap();
    (child.wait().unwrap().code(), log)
}

#[test]
fn the_unit_of_a_worker_that_died_elsewhere_is_taken_over_after_its_lease() {
    let place = rows();
    place.succeed(&PRECOMPUTE);
    let expected = place.visible("cache");
    remove_units(&place, &["train-000001", "train-000004"]);
    let name = layer(&place).file_name().unwrap().to_string_lossy().into_owned();
    let held = r#"{"token":"x","host":"node7","kernel":"of node7","process":7}"#;
    place.write_in("cache/.claims", &format!("{name}.train-000004"), held);
    let claim = place.path(&format!("cache/.claims/{name}.train-000004"));
    let (code, log) = expire_when_waited_for(
        &place,
        &[&PRECOMPUTE[..], &["--claim"]].concat(),
        &claim,
        "waiting for 1 work units",
    );
    assert_eq!(code, Some(0), "{log}");
    assert!(place.visible("cache") == expected);
    assert_nothing_hidden(&place, &[]);
}

#[test]
fn workers_that_start_at_once_prepare_once_and_the_last_of_them_writes_the_manifest() {
    let whole = rows();
    whole.succeed(&PRECOMPUTE);
    let place = rows();
    let started: Vec<Child> = (0..4)
        .map(|index| {
            let mut command = place.command(&PRECOMPUTE);
            command.env("SLURM_ARRAY_TASK_ID", index.to_string());
            command
                .env("SLURM_ARRAY_TASK_MIN", "0")
                .env("SLURM_ARRAY_TASK_COUNT", "4");
            command
                .stderr(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let logs: Vec<String> = started
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", message(&output));
            message(&output)
        })
        .collect();
    for (index, log) in logs.iter().enumerate() {
        assert!(
            log.contains(&format!("worker {index} of 4 (SLURM_ARRAY_TASK_ID)")),
            "{log}"
        );
    }
    let made = logs.iter().filter(|log| log.contains("prepared the corpus")).count();
    assert_eq!(made, 1, "{logs:?}");
    assert!(place.visible("cache") == whole.visible("cache"));
    assert!(layer(&place).join("manifest.json").is_file());
}

#[test]
fn a_worker_that_finds_another_preparing_says_so_and_takes_over_when_that_is_dead() {
    let place = rows();
    place.write_in(
        "cache/.claims",
        "prepare",
        r#"{"token":"x","host":"node7","kernel":"of node7","process":7}"#,
    );
    let (code, log) = expire_when_waited_for(
        &place,
        &PRECOMPUTE,
        &place.path("cache/.claims/prepare"),
        "waiting for process 7 on node7, which prepares this cache",
    );
    assert_eq!(code, Some(0), "{log}");
    assert_nothing_hidden(&place, &[]);
}

#[test]
fn finalizing_lists_what_is_missing_with_the_tasks_to_submit_again() {
    let place = rows();
    place.succeed(&PRECOMPUTE);
    let expected = place.visible("cache");
    let finalize = [&PRECOMPUTE[..], &["--finalize"]].concat();
    let whole = place.succeed(&finalize);
    assert!(
        whole.contains("is complete: 13 work units") && whole.contains("blake3"),
        "{whole}"
    );
    remove_units(&place, &["train-000002", "train-000003", "validation-000000"]);
    let output = place.run(&finalize);
    let (said, text) = (message(&output), String::from_utf8_lossy(&output.stdout).into_owned());
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        text.contains("train-000002 to train-000003, validation-000000"),
        "{text}"
    );
    assert!(
        said.contains("3 of 13 work units are missing") && said.contains("--workers N"),
        "{said}"
    );
    // With the number of workers, it names those whose shares they are; and these do them.
    let output = place.run(&[&finalize[..], &["--workers", "20", "--json"]].concat());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let array = told["array"].as_str().unwrap().to_owned();
    assert_eq!((&told["units_missing"], &told["complete"]), (&3.into(), &false.into()));
    assert!(
        message(&output).contains(&format!("`--array={array}`")),
        "{}",
        message(&output)
    );
    let tasks: Vec<usize> = array
        .split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<usize>().unwrap()..=last.parse().unwrap()
        })
        .collect();
    assert_eq!(tasks.len(), 3, "{array}");
    for task in &tasks {
        let mut command = place.command(&PRECOMPUTE);
        command
            .env("LEADSPAN_WORKERS", "20")
            .env("SLURM_ARRAY_TASK_ID", task.to_string());
        command.env("SLURM_ARRAY_TASK_COUNT", tasks.len().to_string());
        command.env("SLURM_ARRAY_TASK_MIN", tasks[0].to_string());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", message(&output));
    }
    assert!(place.visible("cache") == expected);
    place.succeed(&finalize);
}

#[test]
fn finalizing_takes_up_a_shard_whose_writer_died_before_its_receipt() {
    let place = rows();
    place.succeed(&PRECOMPUTE);
    let expected = place.visible("cache");
    fs::remove_file(layer(&place).join("train-000002.json")).unwrap();
    fs::remove_file(layer(&place).join("manifest.json")).unwrap();
    place.succeed(&[&PRECOMPUTE[..], &["--finalize"]].concat());
    assert!(place.visible("cache") == expected);
}

#[test]
fn an_environment_that_does_not_say_which_worker_this_is_is_refused_unless_units_are_claimed() {
    let place = rows();
    let run = |more: &[&str]| {
        let mut command = place.command(&[&PRECOMPUTE[..], more].concat());
        command.env("JOB_COMPLETION_INDEX", "3").output().unwrap()
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = message(&output);
    assert!(
        said.contains("`JOB_COMPLETION_INDEX`") && said.contains("hint: state the number"),
        "{said}"
    );
    assert!(!place.path("cache").exists());
    assert_eq!(run(&["--workers", "3"]).status.code(), Some(1), "it counts from 0");
    assert_eq!(run(&["--claim"]).status.code(), Some(0));
    assert_eq!(run(&["--worker", "0/2"]).status.code(), Some(0), "a flag wins");
}

/// The memory that a process has now, in MiB, and the processor time that it has taken.
fn use_of(process: u32) -> Option<(f64, Duration)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // In hundredths of a second; fields are counted after the name, which may have spaces.
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some((kibibytes / 1024.0, Duration::from_millis(10 * ticks)))
}

/// Ten thousand units of one tiny sample each, in a cache in `folder`.
fn ten_thousand_units(folder: &Path) -> Workplace {
    let place = Workplace::new();
    let rows: Vec<String> = (0..10_000)
        .map(|index| {
            format!(r#"{{"id": "{index}", "question": "{index}?", "chain_of_thought": "so", "answer": "1"}}"#) + "\n"
        })
        .collect();
    place.write("text.jsonl", &rows.concat());
    place.replace(
        "pipeline.toml",
        "samples_per_shard = 10",
        "samples_per_shard = 1\nlead_span_proportion = 0.1",
    );
    place.replace("pipeline.toml", "epochs = 1", "epochs = 1\nlead_span_proportion = 0.1");
    place.replace(
        "pipeline.toml",
        "dir = \"cache\"",
        &format!("dir = \"{}\"", folder.join("cache").display()),
    );
    place
}

/// What ten thousand units took.
#[derive(Debug)]
#[expect(dead_code, reason = "what is not compared is shown")]
struct Figures {
    processor_time_a_unit: Duration,
    wall_time_a_unit: Duration,
    /// How much more memory the first worker had at its end than after a fifth of the units.
    growth_mib: f64,
}

/// Lets so many workers do all of them.
fn time_units(folder: &Path, workers: usize, claim: bool) -> Figures {
    const UNITS: u32 = 10_000;
    let place = ten_thousand_units(folder);
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    let began = Instant::now();
    let mut running: Vec<Child> = (0..workers)
        .map(|worker| {
            let of = format!("{worker}/{workers}");
            let arguments = [
                &PRECOMPUTE[..],
                &["--worker", &of],
                if claim { &["--claim"] } else { &[] },
            ]
            .concat();
            place.start(&arguments)
        })
        .collect();
    let units = || {
        let layers = fs::read_dir(folder.join("cache/layers")).into_iter().flatten();
        let files = layers.flatten().flat_map(|layer| fs::read_dir(layer.path()).unwrap());
        files.count() as u32 / 2
    };
    let mut used: Vec<(f64, Duration)> = vec![Default::default(); workers];
    let mut early = None;
    while running.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        for (used, child) in used.iter_mut().zip(&running) {
            *used = use_of(child.id()).unwrap_or(*used);
        }
        if early.is_none() && units() > UNITS / 5 {
            early = Some(used[0].0);
        }
        sleep(Duration::from_millis(100));
    }
    let elapsed = began.elapsed();
    for child in &mut running {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let finalize = [&PRECOMPUTE[..], &["--finalize"]].concat();
    assert!(place.succeed(&finalize).contains("10,000 work units"));
    Figures {
        processor_time_a_unit: used.iter().map(|(_, time)| *time).sum::<Duration>() / UNITS,
        wall_time_a_unit: elapsed / UNITS,
        growth_mib: used[0].0 - early.unwrap(),
    }
}

#[test]
#[ignore = "the long suite: two minutes on two free cores"]
fn ten_thousand_units_cost_less_than_ten_milliseconds_each_beside_the_syncs_and_memory_stays() {
    let mut figures = BTreeMap::new();
    // In memory, where a sync costs nothing, and in processor time, which others on the machine do not change: all that is
    // done for a unit, the tiny teacher included.
    for (workers, claim) in [(1, false), (1, true), (8, false), (8, true)] {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        figures.insert((workers, claim), time_units(folder.path(), workers, claim));
    }
    let disk = tempfile::tempdir().unwrap();
    let on_disk = time_units(disk.path(), 1, false);
    #[expect(clippy::print_stderr, reason = "figures are what this is run for")]
    {
        eprintln!("by workers, and whether they claim: {figures:#?}; with the syncs of a disk: {on_disk:#?}");
    }
    for (how, figures) in &figures {
        assert!(
            figures.processor_time_a_unit < Duration::from_millis(10),
            "{how:?}: {figures:?}"
        );
        assert!(figures.growth_mib < 16.0, "{how:?}: {figures:?}");
    }
}
