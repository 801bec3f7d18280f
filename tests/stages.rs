//! Both stages with the program's own commands: what they make, and that being killed changes nothing of it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
};

use arrow::{
    array::{Array as _, ArrayRef, Float32Array, ListArray, RecordBatch, StringArray, UInt32Array},
    datatypes::DataType,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::program::{Workplace, fixtures};

const PRECOMPUTE: [&str; 3] = ["precompute", "-c", "pipeline.toml"];
const TRAIN: [&str; 3] = ["train", "-c", "pipeline.toml"];

/// An export as maps by (sample, position): the section and target, and the values.
type Exported = BTreeMap<(String, u32), (String, u32, BTreeMap<u32, f32>, f32, f32)>;

fn exported(place: &Workplace, arguments: &[&str]) -> Exported {
    let mut command = vec!["cache", "export", "--out", "export.parquet"];
    command.extend(arguments);
    place.succeed(&command);
    let file = File::open(place.path("export.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut rows = Exported::new();
    for batch in reader {
        let batch: RecordBatch = batch.unwrap();
        let column = |name: &str| -> ArrayRef { batch.column_by_name(name).unwrap().clone() };
        let numbers = |name: &str| {
            column(name)
                .as_any()
                .downcast_ref::<UInt32Array>()
                .unwrap()
                .values()
                .to_vec()
        };
        let floats = |name: &str| {
            column(name)
                .as_any()
                .downcast_ref::<Float32Array>()
                .unwrap()
                .values()
                .to_vec()
        };
        let text = |name: &str, row: usize| {
            column(name)
                .as_any()
                .downcast_ref::<StringArray>()
                .unwrap()
                .value(row)
                .to_owned()
        };
        let (positions, targets) = (numbers("position"), numbers("token_id"));
        let (tails, target_logprobs) = (floats("tail_logprob"), floats("target_logprob"));
        let (ids, logprobs) = (column("token_ids"), column("logprobs"));
        let ids = ids.as_any().downcast_ref::<ListArray>().unwrap();
        let logprobs = logprobs.as_any().downcast_ref::<ListArray>().unwrap();
        assert_eq!(ids.value_type(), DataType::UInt32);
        for row in 0..batch.num_rows() {
            let (ids, logprobs) = (ids.value(row), logprobs.value(row));
            let ids = ids.as_any().downcast_ref::<UInt32Array>().unwrap().values().to_vec();
            let logprobs = logprobs
                .as_any()
                .downcast_ref::<Float32Array>()
                .unwrap()
                .values()
                .to_vec();
            let entries = ids.into_iter().zip(logprobs).collect();
            let value = (
                text("section", row),
                targets[row],
                entries,
                tails[row],
                target_logprobs[row],
            );
            assert!(rows.insert((text("sample_id", row), positions[row]), value).is_none());
        }
    }
    rows
}

#[test]
fn a_student_learns_from_the_cache_and_becomes_a_model_again() {
    let place = Workplace::new();
    let outcome: Value =
        serde_json::from_str(&place.succeed(&["--json", "precompute", "-c", "pipeline.toml"])).unwrap();
    assert!(outcome.to_string().contains("done"), "{outcome}");

    // The teacher is random, so what it says has nothing to do with the text: the student learns from it alone.
    place.replace(
        "pipeline.toml",
        "epochs = 1\nlearning_rate = 1e-3",
        "epochs = 6\nlearning_rate = 1e-2\ndistillation_weight = 1.0",
    );
    let train = ["--json", "train", "-c", "pipeline.toml"];
    let outcome: Value = serde_json::from_str(&place.succeed(&train)).unwrap();
    let summary = &outcome["summary"];
    let forward_kl = |when: &str| summary[when]["forward_kl"].as_f64().unwrap();
    let (before, after) = (forward_kl("held_out_before"), forward_kl("held_out_after"));
    assert!(
        after < 0.6 * before,
        "held-out forward KL went from {before} to {after}"
    );

    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let steps = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let steps: Vec<Value> = steps.filter(|record| record["event"] == "step").collect();
    assert_eq!(steps.len() as u64, summary["steps"].as_u64().unwrap());
    for key in [
        "loss",
        "loss_cross_entropy",
        "loss_forward_kl",
        "learning_rate",
        "gradient_norm",
        "tokens_per_second",
    ] {
        assert!(
            steps
                .iter()
                .all(|step| step[key].as_f64().is_some_and(|value| value > 0.0)),
            "{key}"
        );
    }
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        assert!(place.path("run/model").join(file).is_file(), "{file}");
    }

    // The same command again has nothing to do; the exported student is a student to start from.
    let model = fs::read(place.path("run/model/model.safetensors")).unwrap();
    let again: Value = serde_json::from_str(&place.succeed(&train)).unwrap();
    assert_eq!(
        (again["outcome"].as_str(), &again["summary"]),
        (Some("already_done"), summary)
    );
    assert_eq!(fs::read(place.path("run/model/model.safetensors")).unwrap(), model);
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"\nlayers = [0]",
        "model = \"run/model\"",
    );
    let next = place.succeed(&[
        "--json",
        "train",
        "-c",
        "pipeline.toml",
        "--set",
        "train.dir=next",
        "--set",
        "train.epochs=1",
    ]);
    let next: Value = serde_json::from_str(&next).unwrap();
    let started = next["summary"]["held_out_before"]["forward_kl"].as_f64().unwrap();
    assert!(
        (started - after).abs() < 1e-4,
        "the exported student starts at {started}, not {after}"
    );
}

#[test]
fn a_data_sets_folder_is_captured_and_its_further_pieces_appended() {
    let place = Workplace::new();
    let piece = |n: usize| format!("data/train-{n:05}-of-00002.parquet");
    let copy = |n: usize| {
        let from = fixtures().join("data-sets/hub").join(piece(n));
        fs::copy(from, place.path("set").join(piece(n))).unwrap();
    };
    fs::create_dir_all(place.path("set/data")).unwrap();
    copy(0);
    place.replace("pipeline.toml", "files = [\"text.jsonl\"]", "path = \"set\"");
    place.replace("pipeline.toml", "format = \"columns\"", "format = \"open-thoughts\"");
    place.replace("pipeline.toml", "validation = 4", "validation = 1");
    place.succeed(&PRECOMPUTE);
    copy(1);
    let text = place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_eq!(
        text.split(", ").next().unwrap(),
        "`cache` extended by 2 training samples in 1 work units: 3 training and 1 validation samples of 4 rows"
    );
    place.succeed(&PRECOMPUTE);
    place.succeed(&["cache", "verify", "cache"]);
}

#[test]
fn rows_that_are_appended_later_are_captured_alone_and_learnt_from() {
    let place = Workplace::new();
    place.succeed(&PRECOMPUTE);
    let before = place.visible("cache");
    let row = r#"{"question": "How many?", "chain_of_thought": "1 + 2 = 3.", "answer": "3"}"#;
    place.write("more.jsonl", &format!("{row}\n").repeat(12));
    place.replace("pipeline.toml", "\"text.jsonl\"", "\"text.jsonl\", \"more.jsonl\"");
    // 36 samples are for training: unit 3 has six of them and stays as it is.
    let text = place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert_eq!(
        text.split(", ").next().unwrap(),
        "`cache` extended by 12 training samples in 2 work units: 48 training and 4 validation samples of 52 rows"
    );
    let outcome: Value =
        serde_json::from_str(&place.succeed(&["--json", "precompute", "-c", "pipeline.toml"])).unwrap();
    assert_eq!(
        (
            &outcome["units_written"],
            &outcome["units_skipped"],
            &outcome["samples"]
        ),
        (&2.into(), &5.into(), &12.into())
    );
    let after = place.visible("cache");
    // A layer's manifest sums up what is there by now.
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("manifest.json")) {
        assert_eq!(after.get(path), Some(bytes), "`{}` changed", path.display());
    }
    assert_eq!(
        after.len(),
        before.len() + 7,
        "three files of the corpus, two shards and their receipts"
    );
    let inspection: Value = serde_json::from_str(&place.succeed(&["--json", "cache", "inspect", "cache"])).unwrap();
    let corpus = &inspection["corpus"];
    assert_eq!(
        (
            &corpus["train_samples"],
            &corpus["validation_samples"],
            &corpus["units"]
        ),
        (&48.into(), &4.into(), &7.into())
    );
    place.succeed(&["cache", "verify", "cache"]);
    let outcome: Value = serde_json::from_str(&place.succeed(&["--json", "train", "-c", "pipeline.toml"])).unwrap();
    assert_eq!(outcome["summary"]["steps"], 48 / 8, "{outcome}");
}

#[test]
fn a_precompute_killed_at_any_moment_leaves_what_an_uninterrupted_one_makes() {
    let whole = Workplace::with_rows(120, 200);
    whole.succeed(&PRECOMPUTE);
    let expected = whole.visible("cache");
    assert!(
        expected
            .keys()
            .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
            .count()
            > 12
    );

    let killed = Workplace::with_rows(120, 200);
    let (mut kills, mut committed) = (0, Vec::new());
    // At every fifth write and beyond: each process goes on where the last one was killed.
    for number in (1..=14).map(|part| 5 * part) {
        kills += usize::from(killed.start_held(&PRECOMPUTE, "writes", number).kill());
        // Nothing that a reader sees is ever partial.
        let so_far = killed.visible("cache");
        for (path, bytes) in &so_far {
            assert_eq!(
                Some(bytes),
                expected.get(path),
                "`{}` differs after a kill",
                path.display()
            );
        }
        committed.push(so_far.len());
    }
    killed.succeed(&PRECOMPUTE);
    assert_eq!(killed.visible("cache"), expected);
    assert!(kills >= 3, "{kills} kills: {committed:?}");
    assert!(
        committed.windows(2).any(|pair| pair[0] < pair[1]),
        "the kills found no work in between: {committed:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_terminated_stage_exits_75_and_the_same_command_finishes_it() {
    let whole = Workplace::with_rows(120, 200);
    whole.succeed(&PRECOMPUTE);
    whole.succeed(&TRAIN);

    let stopped = Workplace::with_rows(120, 200);
    // While it prepares, at the second batch, before the first checkpoint, and after the second step.
    for (arguments, kind, number) in [
        (PRECOMPUTE, "writes", 20),
        (PRECOMPUTE, "tokens", 2),
        (TRAIN, "steps", 2),
    ] {
        if kind == "tokens" {
            // The case before has completed it.
            fs::remove_dir_all(stopped.path("cache")).unwrap();
        }
        let held = stopped.start_held(&arguments, kind, number);
        assert_eq!(held.terminate(), Some(75), "{arguments:?} at {number} {kind}");
        assert!(!stopped.path("run/model").exists());
        stopped.succeed(&arguments);
        // Stopped while it prepares or loads, a process may leave what a kill leaves, which is hidden; the same command removes
        // it. A run's lock stays as an empty file, and the hashes of teacher and data are remembered.
        for path in stopped.contents().into_keys() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(
                !name.starts_with('.') || [".lock", ".weights.json", ".data.json"].contains(&name.as_str()),
                "`{}` was left",
                path.display()
            );
        }
    }
    assert_eq!(stopped.visible("cache"), whole.visible("cache"));
    let weights = |place: &Workplace| fs::read(place.path("run/model/model.safetensors")).unwrap();
    assert_eq!(weights(&stopped), weights(&whole));
}

#[test]
fn two_workers_make_what_one_makes() {
    let one = Workplace::with_rows(60, 100);
    one.succeed(&PRECOMPUTE);
    let two = Workplace::with_rows(60, 100);
    let mut workers =
        ["0/2", "1/2"].map(|worker| two.start(&["precompute", "-c", "pipeline.toml", "--worker", worker]));
    for worker in &mut workers {
        assert_eq!(worker.wait().unwrap().code(), Some(0));
    }
    assert_eq!(two.visible("cache"), one.visible("cache"));
}

#[test]
fn a_whole_cache_read_at_one_half_is_the_cache_made_at_one_half() {
    // The longest samples have some 2,000 tokens.
    let place = Workplace::with_rows(60, 900);
    place.succeed(&PRECOMPUTE);
    place.succeed(&[
        "precompute",
        "-c",
        "pipeline.toml",
        "--set",
        "cache.dir=half",
        "--set",
        "cache.lead_span_proportion=0.5",
    ]);
    let (read, made) = (
        exported(&place, &["cache", "--proportion", "0.5"]),
        exported(&place, &["half"]),
    );
    assert!(made.keys().any(|(_, position)| *position > 900), "no sample is long");
    assert_eq!(read.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>());
    for (place, (section, target, entries, tail, target_logprob)) in &made {
        let (read_section, read_target, read_entries, read_tail, read_target_logprob) = &read[place];
        assert_eq!((section, target), (read_section, read_target));
        assert!((tail - read_tail).abs() < 1e-5, "{place:?}: tail {tail} {read_tail}");
        assert!((target_logprob - read_target_logprob).abs() < 1e-5, "{place:?}");
        assert_eq!(entries.len(), read_entries.len());
        // Tokens that tie at the edge of the top-k may stand for each other; the values may not differ.
        let last = entries.values().copied().fold(f32::INFINITY, f32::min);
        for (token, logprob) in entries {
            match read_entries.get(token) {
                Some(other) => assert!((logprob - other).abs() < 1e-5, "{place:?} {token}: {logprob} {other}"),
                None => assert!(logprob - last < 1e-5, "{place:?}: token {token} is missing"),
            }
        }
    }
    let whole = exported(&place, &["cache"]);
    assert!(whole.len() > made.len());
    assert!(whole.values().any(|row| row.0 == "answer"));
}

/// The metrics of the first optimizer step of a run with the given settings.
fn first_step(place: &Workplace, dir: &str, settings: &[&str]) -> Value {
    let dir_setting = format!("train.dir={dir}");
    let mut command = vec!["train", "-c", "pipeline.toml", "--set", &dir_setting];
    for setting in settings {
        command.extend(["--set", setting]);
    }
    place.succeed(&command);
    let metrics = fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap();
    let mut records = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.find(|record| record["event"] == "step").unwrap()
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_run() {
    let place = Workplace::with_rows(24, 60);
    place.succeed(&PRECOMPUTE);
    let weights = |threads: &str| {
        let set = format!("train.dir=run-{threads}");
        let mut command = place.command(&["train", "-c", "pipeline.toml", "--set", &set]);
        assert!(
            command
                .env("RAYON_NUM_THREADS", threads)
                .output()
                .unwrap()
                .status
                .success()
        );
        fs::read(place.path(&format!("run-{threads}/model/model.safetensors"))).unwrap()
    };
    let one = weights("1");
    assert!(weights("2") == one && weights("3") == one);
}

#[test]
fn accumulating_small_passes_equals_one_large_one() {
    let place = Workplace::with_rows(24, 60);
    place.succeed(&PRECOMPUTE);
    for normalization in ["token", "sequence"] {
        let kind = format!("train.normalization={normalization}");
        let large = first_step(
            &place,
            &format!("{normalization}-large"),
            &[&kind, "train.micro_batch_tokens=100000"],
        );
        let small = first_step(
            &place,
            &format!("{normalization}-small"),
            &[&kind, "train.micro_batch_tokens=1"],
        );
        assert_eq!(
            (&large["tokens"], &large["positions"]),
            (&small["tokens"], &small["positions"])
        );
        for key in ["loss", "loss_cross_entropy", "loss_forward_kl", "gradient_norm"] {
            let (large, small) = (large[key].as_f64().unwrap(), small[key].as_f64().unwrap());
            assert!(
                (large - small).abs() < 1e-4 * large,
                "{normalization} {key}: {large} {small}"
            );
        }
    }
    // Samples differ in length, so the two means differ as well.
    let loss = |dir: &str| {
        let metrics = fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap();
        let step = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        step.filter(|record| record["event"] == "step")
            .map(|record| record["loss"].as_f64().unwrap())
            .next()
            .unwrap()
    };
    assert!((loss("token-large") - loss("sequence-large")).abs() > 1e-4);
}

#[test]
fn a_quantised_teacher_runs_as_it_is_and_its_format_is_part_of_the_cache() {
    let place = Workplace::new();
    fs::copy(
        crate::program::fixtures().join("tiny-teacher.gguf"),
        place.path("teacher.gguf"),
    )
    .unwrap();
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"",
        "model = \"teacher.gguf\"\ndtype = \"native\"",
    );
    place.succeed(&PRECOMPUTE);
    let dense = ["precompute", "-c", "pipeline.toml", "--set", "teacher.dtype=f32"];
    let refused = place.run(&dense);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("native") && message.contains("f32"), "{message}");

    place.succeed(&[dense.as_slice(), &["--set", "cache.dir=dense"]].concat());
    let (native, dense) = (exported(&place, &["cache"]), exported(&place, &["dense"]));
    assert_eq!(native.keys().collect::<Vec<_>>(), dense.keys().collect::<Vec<_>>());
    let mean = native
        .iter()
        .map(|(place, row)| f64::from((row.4 - dense[place].4).abs()))
        .sum::<f64>();
    // Quantised products round their inputs to eight bits a block.
    let mean = mean / native.len() as f64;
    assert!(mean > 0.0 && mean < 0.1, "{mean}");
    // The student starts from the directory the file was made from: the same tokenizer, told from what it does.
    place.succeed(&TRAIN);
}
