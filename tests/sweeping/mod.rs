//! `leadspan sweep` with the real program: which runs there are, that they end alike whatever happens to the sweep, and what is
//! refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::program::{Held, Moments, Workplace, terminate, wait_until};

const SWEEP: [&str; 3] = ["sweep", "-c", "pipeline.toml"];

/// Two proportions, two seeds and all baselines: 4 runs, 1 untrained, 2 supervised, and 2 of equal compute.
const TABLE: &str = r#"
[evaluate]
files = ["text.jsonl"]
format = "columns"
problems = 3
max_new_tokens = 6

[sweep]
dir = "runs"
lead_span_proportion = [0.5, 1.0]
seed = [0, 1]
baselines = ["untrained", "supervised", "equal_compute"]
"#;

const NAMES: [&str; 9] = [
    "equal_compute-proportion-0.5-seed-0",
    "equal_compute-proportion-0.5-seed-1",
    "proportion-0.5-seed-0",
    "proportion-0.5-seed-1",
    "proportion-1.0-seed-0",
    "proportion-1.0-seed-1",
    "supervised-seed-0",
    "supervised-seed-1",
    "untrained",
];

/// A captured cache, and a sweep in the pipeline file.
fn captured() -> Workplace {
    let place = Workplace::with_rows(30, 40);
    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    place.replace("pipeline.toml", "epochs = 1", "epochs = 2\ncheckpoint_steps = 2");
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap() + TABLE;
    place.write("pipeline.toml", &pipeline);
    place
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The names of the folders of runs.
fn folders(place: &Workplace, dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(place.path(dir)).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What the runs ended with, by the path in the folder of runs: students and answers byte by byte, and what is noted of them
/// without times and memory.
fn ended(place: &Workplace, dir: &str) -> BTreeMap<PathBuf, Result<Vec<u8>, Value>> {
    let files = place.visible(dir).into_iter().filter_map(|(path, bytes)| {
        let name = path.file_name()?.to_str()?.to_owned();
        let kept = match name.as_str() {
            "summary.json" | "sweep.json" => Err(timeless(json(&bytes))),
            // Attempts are in the logs, and in the metrics the times of every step.
            "train.log" | "evaluate.log" | "metrics.jsonl" => return None,
            _ => Ok(bytes),
        };
        Some((path, kept))
    });
    files.collect()
}

fn timeless(mut record: Value) -> Value {
    for key in [
        "seconds",
        "wall_seconds",
        "tokens_per_second",
        "waiting_share",
        "peak_memory_bytes",
    ] {
        record.as_object_mut().unwrap().remove(key);
    }
    record
}

/// The table at the end of what a sweep says, without the columns of time and memory.
fn table(said: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = said.lines().collect();
    let head = lines.iter().position(|line| line.starts_with("runs ")).unwrap();
    let [time, end] = ["  time", "  seeds"].map(|column| lines[head].find(column).unwrap());
    let lines = lines[head..].iter().take_while(|line| !line.is_empty());
    let cut = |line: &&str| {
        let letters: Vec<char> = line.chars().collect();
        let parts = [&letters[..time.min(letters.len())], &letters[end.min(letters.len())..]];
        parts.map(|part| part.iter().collect::<String>()).to_vec()
    };
    // Columns are as wide as what is in them, times included: only words count.
    let words = |parts: Vec<String>| parts.join(" ").split_whitespace().map(str::to_owned).collect();
    lines.map(cut).map(words).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

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

    let said = place.succeed(&SWEEP);
    assert_eq!(folders(&place, "runs"), NAMES.map(str::to_owned).into());
    assert!(said.ends_with("\n`runs`: 9 of 9 runs finished\n"), "{said}");
    let rows = said.lines().filter(|line| line.ends_with("  finished")).count();
    assert_eq!(rows, 9, "{said}");

    // What is noted of each run is what the training says.
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
        // The step that reaches the allowance is the last.
        assert!(short <= equal && equal < 0.9 * whole, "{short} {equal} {whole}");
    }
    // Of what the report shows, too.
    let words: Vec<String> = table(&said).into_iter().map(|row| row.join(" ")).collect();
    let kinds = [
        "distilled 0.5",
        "distilled 1.0",
        "supervised only 1.0",
        "equal compute 1.0",
        "untrained –",
    ];
    for kind in kinds {
        assert!(words.iter().any(|row| row.starts_with(kind)), "{kind}: {said}");
    }

    // Again, there is nothing to do: not a byte changes but for what the runs say of themselves.
    let before = place.visible("runs");
    let again = place.succeed(&SWEEP);
    assert_eq!(again.matches("  had been finished\n").count(), 9, "{again}");
    assert_eq!(table(&again), table(&said));
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

    // A finished run is not another one.
    let output = place.run(&[&SWEEP[..], &["--set", "train.learning_rate=2e-3", "--json"]].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("`train.learning_rate`")
            && message.contains("its log, `runs/proportion-0.5-seed-0/train.log`")
    );
    // The supervised and untrained ones as well; those of equal compute have what they are to be as long as.
    assert!(
        message.contains("error: 9 of 9 runs failed: `proportion-0.5-seed-0`, "),
        "{message}"
    );
}

#[test]
fn workers_together_do_what_one_does_alone() {
    let place = captured();
    place.succeed(&SWEEP);
    let elsewhere = ["--set", "sweep.dir=\"shared\""];
    let mut seen = BTreeSet::new();
    let line = [&SWEEP[..], &elsewhere, &["--json"]].concat();
    // One is told by a flag which it is, the other by its scheduler.
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
    let [alone, together] = ["runs", "shared"].map(|dir| {
        let all = ended(&place, dir).into_iter().filter(|(path, _)| moved(path.clone()));
        all.collect::<BTreeMap<_, _>>()
    });
    assert!(alone == together);
}

/// Kills sweeps until there were so many kills, and brings each to its end. A sweep is killed before one of its own writes, or
/// while one of its runs waits after a step.
fn kill_sweeps(kills_wanted: usize, seed: u64) {
    let place = captured();
    let said = place.succeed(&SWEEP);
    let expected = ended(&place, "runs");
    fs::rename(place.path("runs"), place.path("whole")).unwrap();

    let mut moments = Moments::new(seed);
    let mut kills = 0;
    let mut begun = 0;
    while kills < kills_wanted {
        // A run has some eight steps; the processes of a run that is done count none.
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
    // It stops by itself, as if it had been asked to.
    let log = place.path("runs/proportion-0.5-seed-0/train.log");
    wait_until("the run stops", || {
        let log = fs::read_to_string(&log).unwrap();
        log.contains("stopped by a signal: run the same command again\n")
    });
    let lock = fs::File::open(place.path("runs/proportion-0.5-seed-0/.lock")).unwrap();
    assert!(lock.try_lock().is_ok());
    assert!(place.path("runs/proportion-0.5-seed-0/checkpoints").is_dir());
}

#[test]
fn a_run_that_fails_stops_no_other_and_is_shown_with_its_log() {
    let place = captured();
    // A learning rate at which nothing is finite after a step.
    let axes = ["--set", "sweep.learning_rate=[1e-3, 1e37]", "--set", "sweep.seed=[0]"];
    let others = [
        "--set",
        "train.gradient_clipping=inf",
        "--set",
        "train.warmup_share=0",
        "--set",
        "sweep.evaluate=false",
    ];
    let output = place.run(&[&SWEEP[..], &axes, &others].concat());
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

#[test]
fn a_sweep_that_cannot_be_is_refused_before_anything_runs() {
    let place = captured();
    let refused = |settings: &[&str], expected: &[&str]| {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let output = place.run(&[&SWEEP[..], &settings].concat());
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{settings:?}: {message}");
        for part in expected {
            assert!(message.contains(part), "{settings:?}: {message}");
        }
    };
    refused(
        &["sweep.seeed=[1]"],
        &[
            "`sweep.seeed` is not a key of the pipeline file",
            "did you mean `seed`?",
        ],
    );
    refused(
        &["sweep.seed=3"],
        &["`sweep.seed` cannot be used: a list of the values"],
    );
    refused(
        &["sweep.seed=[0, \"one\"]"],
        &[
            "`--set sweep.seed=[0, \"one\"]`: `sweep.seed` cannot be used",
            "a whole number",
        ],
    );
    refused(&["sweep.seed=[]"], &["`train.seed` has no values"]);
    refused(&["sweep.seed=[1, 1]"], &["`train.seed` has the value 1 twice"]);
    refused(
        &["sweep.cache.top_k=[4, 8]"],
        &["a sweep cannot be over `cache.top_k`: it would take another cache"],
    );
    refused(
        &["sweep.max_flops=[1e9]"],
        &["it is what `baselines = [\"equal_compute\"]` sets"],
    );
    refused(
        &["sweep.baselines=[\"trained\"]"],
        &["`sweep.baselines` cannot be used: unknown value `trained`"],
    );
    refused(&["sweep.learning_rate=[-1.0]"], &["`train.learning_rate` is `-1`"]);
    refused(
        &["sweep.student.config=[\"config.json\"]"],
        &["sets `student.model` and `student.config`"],
    );
    place.replace(
        "pipeline.toml",
        "seed = [0, 1]",
        "seed = [0, 1]\nloss = [\"forward_kl\",\n  \"backward_kl\"]",
    );
    let line = 1 + fs::read_to_string(place.path("pipeline.toml"))
        .unwrap()
        .lines()
        .position(|line| line.contains("backward_kl"))
        .unwrap();
    refused(
        &[],
        &[&format!(
            "`pipeline.toml`, line {line}: `sweep.loss` cannot be used: unknown value `backward_kl`"
        )],
    );
    assert!(!place.path("runs").exists());
}

#[test]
fn proportions_beyond_the_cache_are_refused_together() {
    let place = Workplace::new();
    place.succeed(&["precompute", "-c", "pipeline.toml", "--proportion", "0.5"]);
    let pipeline = fs::read_to_string(place.path("pipeline.toml")).unwrap();
    let sweep = |keys: &str| {
        place.write(
            "pipeline.toml",
            &format!("{pipeline}\n[sweep]\ndir = \"runs\"\n{keys}\n"),
        );
    };
    let message = || {
        let output = place.run(&SWEEP);
        (output.status.code(), stderr(&output))
    };
    sweep("lead_span_proportion = [0.25, 0.75, 0.9]\nbaselines = [\"equal_compute\"]");
    let (code, said) = message();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("has lead spans up to 0.5, but the sweep asks for 0.75, 0.9, 1.0 (the baseline `equal_compute`)")
            && said.contains("`--proportion 1.0`"),
        "{said}"
    );
    // Supervised training needs no distributions, and an evaluation no `[evaluate]` that is not there.
    sweep("lead_span_proportion = [0.25, 0.5]\nbaselines = [\"supervised\"]");
    let (code, said) = message();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(folders(&place, "runs").len(), 3);
}
