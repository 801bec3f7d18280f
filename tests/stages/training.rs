//! A student learns from the cache, whatever the number of threads and the size of a pass.

use std::fs;

use serde_json::Value;

use super::PRECOMPUTE;
use crate::program::Workplace;

#[test]
fn a_student_learns_from_the_cache_and_becomes_a_model_again() {
    let place = Workplace::new();
    let outcome: Value =
        serde_json::from_str(&place.succeed(&["--json", "precompute", "-c", "pipeline.toml"])).unwrap();
    assert!(outcome.to_string().contains("done"), "{outcome}");

    // The teacher is random and knows nothing of the text, so the student learns from the distributions alone.
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

    // The same command again has nothing to do. Another run can start from the exported student.
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
