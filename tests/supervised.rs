//! Plain supervised training: without a divergence tokens are all that is needed, at any proportion and of any sections.

use std::fs;

use serde_json::Value;

use crate::program::Workplace;

/// Prepares and trains without a teacher anywhere, with `[student]` as given.
fn pipeline(student: &str) -> String {
    let start = crate::program::PIPELINE
        .split("[teacher]\nmodel = \"teacher\"\n")
        .last()
        .unwrap();
    start.replace("model = \"teacher\"\nlayers = [0]", student)
        + "distillation_weight = 0.0\nlead_span_proportion = 0.8\n"
}

fn train(place: &Workplace, settings: &[&str]) -> Value {
    let mut arguments = vec!["--json", "train", "-c", "pipeline.toml"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    serde_json::from_str(&place.succeed(&arguments)).unwrap()
}

fn weights(place: &Workplace, dir: &str) -> Vec<u8> {
    fs::read(place.path(dir).join("model/model.safetensors")).unwrap()
}

/// The steps of a run without what depends on the machine's mood.
fn steps(place: &Workplace, dir: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(dir).join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut steps: Vec<Value> = records.filter(|record| record["event"] == "step").collect();
    for step in &mut steps {
        for key in ["tokens_per_second", "waited_seconds", "peak_memory_bytes"] {
            step.as_object_mut().unwrap().remove(key);
        }
    }
    steps
}

#[test]
fn tokens_alone_train_a_student_as_a_captured_cache_without_a_divergence_does() {
    let place = Workplace::with_rows(40, 60);
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    let alone = [
        "train.distillation_weight=0",
        "train.dir=alone",
        "train.loss=reverse_kl",
    ];
    let of_tokens = train(&place, &alone);
    let before = &of_tokens["summary"]["held_out_before"];
    assert!(
        before["cross_entropy"].is_f64() && before["forward_kl"].is_null(),
        "{before}"
    );

    place.succeed(&["precompute", "-c", "pipeline.toml"]);
    let captured = [
        "train.distillation_weight=0",
        "train.dir=captured",
        "train.loss=reverse_kl",
    ];
    let of_captured = train(&place, &captured);
    assert!(weights(&place, "alone") == weights(&place, "captured"));
    assert_eq!(steps(&place, "alone"), steps(&place, "captured"));
    for when in ["held_out_before", "held_out_after"] {
        let (alone, captured) = (&of_tokens["summary"][when], &of_captured["summary"][when]);
        let cross_entropy = |of: &Value| of["cross_entropy"].as_f64().unwrap();
        // Beside the teacher's entries a row's exponentials are added up in another order.
        let difference = (cross_entropy(alone) - cross_entropy(captured)).abs();
        assert!(difference < 1e-6, "{when}: {difference}");
        assert!(
            captured["forward_kl"].is_f64(),
            "the teacher is looked up for what is held out"
        );
    }
}

#[test]
fn what_was_captured_does_not_bound_what_tokens_alone_teach() {
    let place = Workplace::with_rows(40, 60);
    let answers = [
        "precompute",
        "-c",
        "pipeline.toml",
        "--set",
        "cache.lead_span_proportion=0.5",
        "--set",
        "cache.supervised_sections=[\"answer\"]",
        "--set",
        "train.supervised_sections=[\"answer\"]",
    ];
    place.succeed(&answers);
    let plain = ["train.distillation_weight=0", "train.lead_span_proportion=1.0"];
    // Whole answers are known of the validation samples, whatever the proportion.
    let of_answers = [
        &plain[..],
        &["train.supervised_sections=[\"answer\"]", "train.dir=answers"],
    ]
    .concat();
    assert!(train(&place, &of_answers)["summary"]["held_out_before"]["forward_kl"].is_f64());
    let of_all = train(&place, &plain);
    assert!(of_all["summary"]["held_out_before"]["forward_kl"].is_null());
    let positions = |dir| -> u64 {
        steps(&place, dir)
            .iter()
            .map(|step| step["positions"].as_u64().unwrap())
            .sum()
    };
    assert!(positions("run") > 2 * positions("answers"));
}

#[test]
fn a_student_is_trained_where_there_is_no_teacher_at_all() {
    let place = Workplace::with_rows(40, 60);
    fs::rename(place.path("teacher"), place.path("student")).unwrap();
    place.write("pipeline.toml", &pipeline("model = \"student\"\nlayers = [0]"));
    place.succeed(&["prepare", "-c", "pipeline.toml"]);
    let summary = &train(&place, &["train.learning_rate=1e-2", "train.export=best"])["summary"];
    let cross_entropy = |when: &str| summary[when]["cross_entropy"].as_f64().unwrap();
    assert!(
        cross_entropy("held_out_after") < 0.9 * cross_entropy("held_out_before"),
        "{summary}"
    );
    assert!(place.path("run/model/tokenizer.json").is_file());
    let inspected = place.succeed(&["cache", "inspect", "cache"]);
    assert!(inspected.contains("teacher    none"), "{inspected}");
    place.succeed(&["cache", "verify", "cache"]);

    // With random weights, and a tokenizer that belongs to no model.
    place.write(
        "pipeline.toml",
        &pipeline("config = \"student.json\"\ntokenizer = \"text\""),
    );
    fs::copy(place.path("student/config.json"), place.path("student.json")).unwrap();
    fs::create_dir(place.path("text")).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        fs::copy(place.path("student").join(file), place.path("text").join(file)).unwrap();
    }
    let found = place.succeed(&["prepare", "-c", "pipeline.toml"]);
    assert!(
        found.contains("was prepared already"),
        "the same tokenizer, and so the same cache: {found}"
    );
    let random = train(&place, &["train.dir=random"]);
    // Nothing is known to begin with: −log(1/320) = 5.768.
    let before = random["summary"]["held_out_before"]["cross_entropy"].as_f64().unwrap();
    assert!((before - 320f64.ln()).abs() < 0.1, "{before}");
}
