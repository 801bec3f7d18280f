//! Workers that start at once, wait for each other, and take over from dead ones.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use super::{PRECOMPUTE, assert_nothing_hidden, layer, message, remove_units, rows};
use crate::program::Workplace;

/// Runs a command until its log has `line`, expires the claim that it waits for, and lets it finish.
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
        "waiting for 1 work unit that",
    );
    assert_eq!(code, Some(0), "{log}");
    assert!(place.visible("cache") == expected);
    assert_nothing_hidden(&place);
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
            command.stderr(Stdio::piped()).stdout(Stdio::null());
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
    assert_nothing_hidden(&place);
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
