//! Files of runs that contradict themselves or each other.

use std::fs;

use leadspan_diagnosis::Diagnosis as _;
use serde_json::{Value, json};

use super::{Run, read_runs};
use crate::ExperimentError;

/// A folder with one run.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &Value) {
        self.write_text(name, &content.to_string());
    }

    fn write_text(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The finished run `a`.
    fn run(&self) {
        self.write("a/run.json", &json!({ "config": {} }));
        self.write("a/summary.json", &json!({ "steps": 3, "tokens": 30, "seconds": 2.0 }));
    }

    fn read(&self) -> Result<Vec<Run>, ExperimentError> {
        read_runs(&[self.0.path().to_owned()])
    }
}

#[test]
fn a_file_that_contradicts_itself_or_another_one_is_refused_by_name() {
    let answers = |indices: [u64; 2], right: u64| {
        let answer = |index: u64| {
            json!({
                "index": index, "id": "p", "correct": index < right, "expected": "1", "found": "1", "question": "q", "text": "t",
                "end": "cut", "tokens": 3,
            })
        };
        let [first, second] = indices.map(answer);
        format!("{first}\n{second}\n")
    };
    let summary = json!({
        "problems": 2, "correct": 1, "accuracy": 0.5, "accuracy_interval": null, "ungraded": 0, "without_answer": 0, "cut": 2,
        "cut_share": 1.0, "prompts_too_long": 0, "tokens": 6, "held_out": null,
    });
    let (summary_at, answers_at) = ("a/evaluation/summary.json", "a/evaluation/answers.jsonl");
    let fresh = || {
        let runs = Folder::new();
        runs.run();
        runs.write(summary_at, &summary);
        runs.write_text(answers_at, &answers([0, 1], 1));
        runs.write("a/evaluation/evaluation.json", &json!({ "problems": { "count": 2 } }));
        runs
    };
    assert_eq!(fresh().read().unwrap()[0].evaluation.as_ref().unwrap().accuracy, 0.5);
    let refused = |runs: &Folder, file: &str, problem: &str| {
        let error = runs.read().unwrap_err();
        assert!(
            matches!(&error, ExperimentError::Contradicts { path, .. } if path.ends_with(file)),
            "{error}"
        );
        assert!(error.to_string().contains(problem), "{problem}: {error}");
        assert!(!error.is_unexpected() && error.hint().unwrap().contains("leave this run out"));
    };
    for (key, value, problem) in [
        ("accuracy", json!(0.99), "`accuracy` is 0.99, and that 1 of 2"),
        ("accuracy_interval", json!([0.4, 0.6]), "another `accuracy_interval`"),
        ("correct", json!(3), "3 of 2 answers are right"),
        ("ungraded", json!(1), "`ungraded` is 1, and `answers.jsonl` has 0"),
        ("without_answer", json!(1), "`without_answer` is 1"),
        ("cut", json!(0), "`cut` is 0, and `answers.jsonl` has 2"),
        ("prompts_too_long", json!(2), "`prompts_too_long` is 2"),
        ("tokens", json!(7), "`tokens` is 7"),
        ("held_out", json!({ "cross_entropy": -5.0 }), "`cross_entropy` is -5"),
    ] {
        let runs = fresh();
        let mut forged = summary.clone();
        forged[key] = value;
        runs.write(summary_at, &forged);
        refused(&runs, summary_at, problem);
    }
    let runs = fresh();
    runs.write_text(answers_at, &answers([0, 1], 2));
    refused(&runs, summary_at, "`correct` is 1, and `answers.jsonl` has 2");
    runs.write_text(answers_at, "");
    refused(&runs, summary_at, "`problems` is 2, and `answers.jsonl` has 0");
    runs.write_text(answers_at, &answers([0, 0], 1));
    refused(&runs, answers_at, "the answer to problem 0 in the place of problem 1");
    runs.write_text(answers_at, &answers([0, 1], 1));
    runs.write("a/evaluation/evaluation.json", &json!({ "problems": { "count": 200 } }));
    refused(&runs, summary_at, "sums up 2 problems, and `evaluation.json` has 200");

    let runs = fresh();
    let step = |step: u64| json!({ "event": "step", "step": step, "steps": 3, "loss": 1.5, "tokens": 10, "training_flops": 1.0 });
    runs.write_text(
        "a/metrics.jsonl",
        &[1, 2].map(|number| format!("{}\n", step(number))).concat(),
    );
    refused(&runs, "a/summary.json", "`steps` is 3, and `metrics.jsonl` says 2");
    for (steps, problem) in [
        ([1, 4], "step 4 of 3 behind step 1"),
        ([2, 2], "step 2 of 3 behind step 2"),
    ] {
        runs.write_text(
            "a/metrics.jsonl",
            &steps.map(|number| format!("{}\n", step(number))).concat(),
        );
        refused(&runs, "a/metrics.jsonl", problem);
    }
}

#[test]
fn a_held_out_loss_that_is_not_finite_is_not_recorded() {
    let runs = Folder::new();
    runs.run();
    let held_out = json!({ "cross_entropy": null, "forward_kl": 0.5 });
    let summary = json!({ "steps": 1, "tokens": 1, "seconds": 1.0, "held_out_after": held_out });
    runs.write("a/summary.json", &summary);
    let read = runs.read().unwrap();
    let found = read[0].held_out().unwrap();
    assert_eq!((found.cross_entropy, found.forward_kl), (None, Some(0.5)));
}
