//! The runs of a sweep, alone and divided among workers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::Value;

use super::{NAMES, SWEEP, captured, ended, folders, json, stderr, table};

#[test]
fn a_sweep_trains_and_evaluates_every_run_and_baseline_once() {
    let place = captured();
    let dry = place.succeed(&[&SWEEP[..], &["--dry-run"]].concat());
    assert_eq!(
        dry.matches(": not begun\n  leadspan train -c pipeline.toml").count(),
        9,
        "{dry}"
    );
    assert!(
        dry.contains("'train.max_flops=<training_flops of proportion-0.5-seed-1>'") && !place.path("runs").exists(),
        "{dry}"
    );
    // Two cases beside the lists: 8 runs, 1 untrained, 2 supervised for each number of epochs, and 6 of equal compute.
    let cases = "sweep.cases=[{ positions = { teacher_entropy = 0.5 } }, { epochs = 1 }]";
    let dry = place.succeed(&[&SWEEP[..], &["--dry-run", "--set", cases]].concat());
    assert_eq!(dry.matches(": not begun\n").count(), 8 + 1 + 4 + 6, "{dry}");
    for part in [
        "\nproportion-1.0",
        "positions-teacher_entropy-0.5-proportion-0.5-seed-1: not begun\n",
        "--set 'train.positions={ teacher_entropy = 0.5 }' --set train.lead_span_proportion=0.5 --set train.seed=1",
        "equal_compute-epochs-1-proportion-0.5-seed-0",
    ] {
        assert_eq!(dry.contains(part), part != "\nproportion-1.0", "{part}: {dry}");
    }

    let said = place.succeed(&SWEEP);
    assert_eq!(folders(&place, "runs"), NAMES.map(str::to_owned).into());
    assert!(said.ends_with("\n`runs`: 9 of 9 runs finished\n"), "{said}");
    let rows = said.lines().filter(|line| line.ends_with("  finished")).count();
    assert_eq!(rows, 9, "{said}");

    // The record of each run agrees with the summary of its training.
    let noted = |name: &str| json(&fs::read(place.path(&format!("runs/{name}/sweep.json"))).unwrap());
    let flops = |name: &str| noted(name)["training_flops"].as_f64().unwrap();
    for name in NAMES {
        let (noted, summary) = (
            noted(name),
            fs::read(place.path(&format!("runs/{name}/summary.json"))).unwrap(),
        );
        let summary = json(&summary);
        for key in ["training_flops", "tokens", "cache_bytes_read", "held_out_after"] {
            assert!(!summary[key].is_null(), "{name}: {key}");
            assert_eq!(noted[key], summary[key], "{name}: {key}");
        }
        assert!(noted["wall_seconds"].as_f64() > summary["seconds"].as_f64(), "{name}");
        assert!(noted["peak_memory_bytes"].as_u64() > Some(1 << 20), "{name}");
        assert_eq!(noted["evaluation"]["problems"], 3, "{name}");
    }
    assert_eq!(
        (flops("untrained"), noted("untrained")["tokens"].as_u64()),
        (0.0, Some(0))
    );
    assert_eq!(noted("supervised-seed-0")["cache_bytes_read"], 0);
    for seed in 0..2 {
        let [short, whole] = ["0.5", "1.0"].map(|part| flops(&format!("proportion-{part}-seed-{seed}")));
        let equal = flops(&format!("equal_compute-proportion-0.5-seed-{seed}"));
        // The step that reaches the allowance is the last one.
        assert!(short <= equal && equal < 0.9 * whole, "{short} {equal} {whole}");
    }
    // The table shows every kind of run.
    let words: Vec<String> = table(&said).into_iter().map(|row| row.join(" ")).collect();
    let kinds = [
        "distilled 0.5",
        "distilled 1.0",
        "supervised only 1.0",
        "equal compute, for lead span 0.5 1.0",
        "untrained –",
    ];
    for kind in kinds {
        assert!(words.iter().any(|row| row.starts_with(kind)), "{kind}: {said}");
    }

    // The second time there is nothing to do: only logs change.
    let before = place.visible("runs");
    let again = place.succeed(&SWEEP);
    assert_eq!(again.matches("  had been finished\n").count(), 9, "{again}");
    assert_eq!(table(&again), table(&said));
    let short = place.succeed(&[&SWEEP[..], &["--without-table"]].concat());
    assert!(
        short.ends_with("  had been finished\n`runs`: 9 of 9 runs finished\n"),
        "{short}"
    );
    let changed: Vec<_> = place
        .visible("runs")
        .into_iter()
        .filter(|(path, bytes)| before.get(path) != Some(bytes))
        .collect();
    assert!(
        changed
            .iter()
            .all(|(path, _)| path.extension().is_some_and(|end| end == "log")),
        "{changed:?}"
    );

    // A finished run is refused with other settings.
    let output = place.run(&[&SWEEP[..], &["--set", "train.learning_rate=2e-3", "--json"]].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("`train.learning_rate`")
            && message.contains("its log, `runs/proportion-0.5-seed-0/train.log`")
    );
    // All runs are refused, the baselines included.
    assert!(
        message.contains("error: 9 of 9 runs failed: `proportion-0.5-seed-0`, "),
        "{message}"
    );
}

#[test]
fn workers_and_students_at_the_same_time_become_what_one_after_the_other_does() {
    let place = captured();
    place.succeed(&SWEEP);
    let said = place.succeed(&[&SWEEP[..], &["--jobs", "3", "--set", "sweep.dir=\"jobs\""]].concat());
    assert!(said.ends_with("\n`jobs`: 9 of 9 runs finished\n"), "{said}");
    let elsewhere = ["--set", "sweep.dir=\"shared\""];
    let mut seen = BTreeSet::new();
    let line = [&SWEEP[..], &elsewhere, &["--json"]].concat();
    // A flag names the first worker, the scheduler names the second.
    let by_flag = place.succeed(&[&line[..], &["--worker", "0/2"]].concat());
    let by_scheduler = place
        .command(&line)
        .env("OMPI_COMM_WORLD_RANK", "1")
        .env("OMPI_COMM_WORLD_SIZE", "2")
        .output()
        .unwrap();
    for said in [by_flag, String::from_utf8(by_scheduler.stdout).unwrap()] {
        let lines: Vec<Value> = said.lines().map(|line| json(line.as_bytes())).collect();
        let (last, runs) = lines.split_last().unwrap();
        assert_eq!((&last["outcome"], &last["runs"]), (&"done".into(), &runs.len().into()));
        for run in runs {
            assert_eq!(run["state"], "finished");
            assert!(seen.insert(run["name"].as_str().unwrap().to_owned()), "{run}");
        }
        assert!((4..=5).contains(&runs.len()), "{said}");
    }
    assert_eq!(seen, NAMES.map(str::to_owned).into());
    let moved = |path: PathBuf| !path.ends_with("run.json");
    let [alone, at_once, together] = ["runs", "jobs", "shared"].map(|dir| {
        let all = ended(&place, dir).into_iter().filter(|(path, _)| moved(path.clone()));
        all.collect::<BTreeMap<_, _>>()
    });
    assert!(alone == at_once && alone == together);
}

#[test]
fn a_run_that_fails_stops_no_other_and_is_shown_with_its_log() {
    let place = captured();
    // A learning rate so high that nothing is finite after one step.
    let axes = ["--set", "sweep.learning_rate=[1e-3, 1e37]", "--set", "sweep.seed=[0]"];
    let others = [
        "--set",
        "train.gradient_clipping=inf",
        "--set",
        "train.warmup_share=0",
        "--set",
        "sweep.evaluate=false",
    ];
    let output = place.run(&[&SWEEP[..], &axes, &others, &["--jobs", "2"]].concat());
    let (said, message) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{message}");
    let failed = "proportion-0.5-learning_rate-1e+37-seed-0";
    let [row, left_out] = [failed.to_owned(), format!("equal_compute-{failed}")]
        .map(|name| said.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap());
    assert!(row.ends_with("  failed") && left_out.ends_with("  left out"), "{said}");
    assert!(message.contains(&format!("the run `{failed}` failed (exit code 1); its log, `runs/{failed}/train.log`, ends with:\nerror: could not train")), "{message}");
    assert!(
        message.contains("is not finite") && message.contains("runs failed: `"),
        "{message}"
    );
    assert!(
        said.contains("finished\n") && said.matches("  failed\n").count() == 3,
        "{said}"
    );
}
