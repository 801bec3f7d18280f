//! A student that starts from a base model, which knows no turns, learns where the turns of a chat template end.

use std::fs;

use serde_json::{Value, json};

use crate::program::Workplace;

const PIPELINE: &str = r#"[data]
files = ["text.jsonl"]
format = "columns"
validation = 4

[cache]
dir = "cache"

[student]
model = "base"

[train]
dir = "run"
steps = 120
learning_rate = 1e-2
lead_span_proportion = 1.0
supervised_sections = ["chain_of_thought", "answer"]
distillation_weight = 0.0

[evaluate]
files = ["text.jsonl"]
format = "columns"
problems = 8
max_new_tokens = 60
"#;

fn json_of(place: &Workplace, file: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(file)).unwrap()).unwrap()
}

#[test]
fn a_base_student_is_exported_with_the_end_of_the_templates_turns_and_stops_there() {
    let place = Workplace::new();
    fs::rename(place.path("teacher"), place.path("base")).unwrap();
    // A base model ends texts with `<|endoftext|>`, which the template does not write.
    place.replace("base/config.json", "\"eos_token_id\": 2", "\"eos_token_id\": 0");
    place.replace(
        "base/generation_config.json",
        "\"eos_token_id\": 2",
        "\"eos_token_id\": 0",
    );
    place.replace(
        "base/tokenizer_config.json",
        "\"eos_token\": \"<|im_end|>\"",
        "\"eos_token\": \"<|endoftext|>\"",
    );
    // All say the same, so that a small student learns it in few steps.
    let text = fs::read_to_string(place.path("text.jsonl")).unwrap();
    let rows = text.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        (row["chain_of_thought"], row["answer"]) = ("Yes.".into(), "#### 7".into());
        row.to_string() + "\n"
    });
    place.write("text.jsonl", &rows.collect::<String>());
    place.write("pipeline.toml", PIPELINE);
    for command in ["prepare", "train", "evaluate"] {
        place.succeed(&[command, "-c", "pipeline.toml"]);
    }

    let stored = json_of(&place, "cache/tokenizer/tokenizer_config.json");
    assert_eq!(
        stored["eos_token"], "<|endoftext|>",
        "the cache has the files as they are"
    );
    assert_eq!(
        json_of(&place, "run/model/generation_config.json")["eos_token_id"],
        json!([0, 2])
    );
    assert_eq!(
        json_of(&place, "run/model/tokenizer_config.json")["eos_token"],
        "<|im_end|>"
    );
    let answers = fs::read_to_string(place.path("run/evaluation/answers.jsonl")).unwrap();
    assert_eq!(answers.lines().count(), 8);
    for line in answers.lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&answer["end"], &answer["found"]),
            (&"stopped".into(), &"7".into()),
            "{answer}"
        );
    }
    // The same command finds the exported files as it wrote them.
    let again = place.succeed(&["train", "-c", "pipeline.toml"]);
    assert!(again.contains("had been trained already"), "{again}");
}
