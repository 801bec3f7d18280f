//! Reads a run from its folder.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Kind, Metrics, POLICIES, PROBLEMS, Run, RunState, TrainingSummary, agreement::of_training, evaluation,
    json_files::json, ranges::at_least,
};
use crate::{ExperimentError, sweep::Baseline};

/// Keys of settings that runs without them, or of earlier versions, do not record, and what those runs do.
const UNRECORDED: [(&str, &str); 4] = [
    ("student.lora.rank", "none"),
    ("train.patience", "none"),
    ("train.schedule", "cosine"),
    ("train.steps", "none"),
];

/// Settings that take the place of another one, their value if they do not, and that other one.
const INSTEAD: [(&str, &str, &str); 2] = [
    ("train.lead_span", "constant", "train.lead_span_proportion"),
    ("train.steps", "none", "train.epochs"),
];

/// The file that a training writes when it starts.
#[derive(Default, Deserialize)]
struct RunFile {
    config: Value,
}

/// The record that a sweep writes for a run.
#[derive(Default, Deserialize)]
struct SweepFile {
    wall_seconds: Option<f64>,
    baseline: Option<Baseline>,
}

/// Reads the run in `folder`.
pub(super) fn read_run(folder: &Path) -> Result<Run, ExperimentError> {
    let run: RunFile = json(folder.join("run.json"))?.unwrap_or_default();
    let sweep: Option<SweepFile> = json(folder.join("sweep.json"))?;
    let wall_seconds = sweep.as_ref().and_then(|sweep| sweep.wall_seconds);
    let summary: Option<TrainingSummary> = json(folder.join("summary.json"))?;
    let metrics = Metrics::read(&folder.join("metrics.jsonl"))?;
    let contradicts = |name: &str| {
        let path = folder.join(name);
        move |problem| ExperimentError::Contradicts { path, problem }
    };
    at_least(0.0, "wall_seconds", wall_seconds).map_err(contradicts("sweep.json"))?;
    if let Some(summary) = &summary {
        of_training(summary, &metrics).map_err(contradicts("summary.json"))?;
    }
    let mut config = BTreeMap::new();
    flatten("", &run.config, &mut config);
    if config.keys().any(|key| key.starts_with("train.")) {
        for (key, default) in POLICIES.into_iter().chain(UNRECORDED) {
            config.entry(key.to_owned()).or_insert_with(|| default.to_owned());
        }
        // What had no effect tells no runs apart.
        for (key, without, other) in INSTEAD {
            if config[key] != without
                && let Some(value) = config.get_mut(other)
            {
                "none".clone_into(value);
            }
        }
    }
    let evaluation = evaluation::read(folder)?;
    // Accuracies on other problems are not comparable.
    if let Some(asked) = evaluation.as_ref().and_then(|evaluation| evaluation.asked.clone()) {
        config.insert(PROBLEMS.to_owned(), asked);
    }
    let state = summary.map_or_else(
        || RunState::Unfinished {
            steps: metrics.steps.last().map_or(0, |step| step.step),
            of: metrics.all_steps,
        },
        RunState::Finished,
    );
    Ok(Run {
        name: folder
            .file_name()
            .unwrap_or(folder.as_os_str())
            .to_string_lossy()
            .into_owned(),
        kind: kind_of(&config, sweep.as_ref()),
        evaluation,
        wall_seconds,
        path: folder.to_owned(),
        config,
        state,
        metrics,
    })
}

/// The kind of a run, derived from its configuration and from what a sweep made it for. A run of a sweep that has a limit of
/// operations, and is no baseline, has it from the pipeline file.
fn kind_of(config: &BTreeMap<String, String>, sweep: Option<&SweepFile>) -> Kind {
    let number = |key| config.get(key).and_then(|value| value.parse::<f64>().ok());
    let is_of_file = sweep.is_some_and(|sweep| sweep.baseline != Some(Baseline::EqualCompute));
    match (number("train.max_flops"), number("train.distillation_weight")) {
        (Some(0.0), _) => Kind::Untrained,
        (Some(_), _) if !is_of_file => Kind::EqualCompute,
        (_, Some(0.0)) => Kind::Supervised,
        _ => Kind::Distilled,
    }
}

/// Inserts each leaf of `value` as text, under its dotted key.
fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(_) if POLICIES.iter().any(|(policy, _)| *policy == key) => {
            into.insert(key.to_owned(), policy(value));
        }
        Value::Object(table) => {
            for (name, inner) in table {
                let separator = if key.is_empty() { "" } else { "." };
                flatten(&format!("{key}{separator}{name}"), inner, into);
            }
        }
        _ => {
            into.insert(key.to_owned(), shown(value));
        }
    }
}

/// A supervision policy as text: `mixture [0.33, 0.75] [1.0, 0.25]`.
fn policy(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<String> = table
                .iter()
                .map(|(name, value)| format!("{name} {}", policy(value)))
                .collect();
            entries.join(", ").replace('_', " ")
        }
        Value::Array(items) if items.iter().any(Value::is_array) => {
            let parts: Vec<String> = items.iter().map(|part| format!("[{}]", policy(part))).collect();
            parts.join(" ")
        }
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => shown(other),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join("+"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    #[test]
    fn a_policy_is_one_setting_and_runs_without_one_have_its_default() {
        let folder = tempfile::tempdir().unwrap();
        let read = |train: &str| {
            fs::write(
                folder.path().join("run.json"),
                format!(r#"{{ "config": {{ "train": {train} }} }}"#),
            )
            .unwrap();
            read_run(folder.path()).unwrap()
        };
        let of = |run: &Run, key: &str| run.config[&format!("train.{key}")].clone();
        let old = read(r#"{ "lead_span_proportion": "0.5" }"#);
        assert_eq!(
            ["lead_span", "positions", "position_weights"].map(|key| of(&old, key)),
            ["constant", "all", "flat"]
        );
        assert_eq!(
            (old.proportion(), old.lead_span()),
            (Some("0.5".parse().unwrap()), None)
        );
        let new = read(
            r#"{ "lead_span_proportion": "0.5", "lead_span": { "mixture": [["0.33", 0.75], ["1.0", 0.25]] },
                "positions": { "teacher_entropy": 0.5 },
                "position_weights": { "prompt": 1.0, "chain_of_thought": 1.0, "answer": 2.0 } }"#,
        );
        assert_eq!(
            ["lead_span", "positions", "position_weights"].map(|key| of(&new, key)),
            [
                "mixture [0.33, 0.75] [1.0, 0.25]",
                "teacher entropy 0.5",
                "prompt 1.0, chain of thought 1.0, answer 2.0"
            ]
        );
        assert_eq!(
            (new.proportion(), new.lead_span()),
            (None, Some("mixture [0.33, 0.75] [1.0, 0.25]"))
        );
        assert_eq!(
            read(r#"{ "lead_span": { "growing": ["0.1", "0.5"] } }"#).lead_span(),
            Some("growing 0.1, 0.5")
        );
        assert_eq!(
            read(r#"{ "lead_span": { "column": "keep" } }"#).lead_span(),
            Some("column keep")
        );
    }

    #[test]
    fn a_limit_of_the_pipeline_file_makes_no_run_of_a_sweep_one_of_equal_compute() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |sweep: Option<&str>, train: &str| {
            let run = format!(r#"{{ "config": {{ "train": {train} }} }}"#);
            fs::write(folder.path().join("run.json"), run).unwrap();
            if let Some(sweep) = sweep {
                fs::write(folder.path().join("sweep.json"), sweep).unwrap();
            }
            read_run(folder.path()).unwrap().kind
        };
        let limited = r#"{ "max_flops": 1e9, "distillation_weight": 1.0 }"#;
        let text = r#"{ "max_flops": 1e9, "distillation_weight": 0.0 }"#;
        assert_eq!(kind(None, limited), Kind::EqualCompute);
        assert_eq!(kind(Some(r#"{ "baseline": null }"#), limited), Kind::Distilled);
        assert_eq!(kind(Some(r#"{ "baseline": null }"#), text), Kind::Supervised);
        assert_eq!(kind(Some(r#"{ "baseline": "supervised" }"#), text), Kind::Supervised);
        assert_eq!(
            kind(Some(r#"{ "baseline": "equal_compute" }"#), text),
            Kind::EqualCompute
        );
        let untrained = r#"{ "max_flops": 0 }"#;
        assert_eq!(kind(Some(r#"{ "baseline": "untrained" }"#), untrained), Kind::Untrained);
    }

    #[test]
    fn what_is_no_part_of_a_run_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["run", "outside"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("outside/summary.json"), r#"{ "accuracy": 1.0, "problems": 1 }"#).unwrap();
        symlink("../outside", at("run/evaluation")).unwrap();
        fs::write(at("run/run.json"), r#"{ "config": {} }"#).unwrap();
        let error = read_run(&at("run")).unwrap_err();
        assert!(
            matches!(&error, ExperimentError::Io { path, .. } if path.ends_with("run/evaluation")),
            "{error}"
        );
        assert!(
            !error.is_unexpected() && error.hint().unwrap().contains("the link"),
            "{error}"
        );

        fs::remove_file(at("run/evaluation")).unwrap();
        read_run(&at("run")).unwrap();
        fs::write(at("run/run.json"), r#"{ "name": "sunny-lake-3" }"#).unwrap();
        let error = read_run(&at("run")).unwrap_err();
        assert!(
            matches!(&error, ExperimentError::Damaged { path, .. } if path.ends_with("run.json")),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("another program"), "{error}");
    }
}
