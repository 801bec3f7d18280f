//! `leadspan sweep`, with the real program.

mod ending;
mod refusing;
mod running;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Output,
};

use serde_json::Value;

use crate::program::Workplace;

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

/// The results of the runs, by their paths in the folder of runs: students and answers byte by byte, summaries and records
/// without times and memory.
fn ended(place: &Workplace, dir: &str) -> BTreeMap<PathBuf, Result<Vec<u8>, Value>> {
    let files = place.visible(dir).into_iter().filter_map(|(path, bytes)| {
        let name = path.file_name()?.to_str()?.to_owned();
        let kept = match name.as_str() {
            "summary.json" | "sweep.json" => Err(timeless(json(&bytes))),
            // Logs list all attempts, metrics have the time of every step, and each process has an event file.
            "train.log" | "evaluate.log" | "metrics.jsonl" => return None,
            _ if path.iter().any(|part| part == "tensorboard") => return None,
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

/// The table at the end of a sweep's output, without the columns of time and memory.
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
    // The widths of columns depend on the times, so only words are compared.
    let words = |parts: Vec<String>| parts.join(" ").split_whitespace().map(str::to_owned).collect();
    lines.map(cut).map(words).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
