//! A run's folder, read.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Kind, Metrics, Progress, Run, Summary, evaluation};
use crate::ExperimentError;

/// What a training notes when it begins.
#[derive(Default, Deserialize)]
struct RunFile {
    #[serde(default)]
    config: Value,
}

/// What a sweep notes of a run.
#[derive(Default, Deserialize)]
struct SweepFile {
    wall_seconds: Option<f64>,
}

/// Reads the run in `folder`.
pub(super) fn read_run(folder: &Path) -> Result<Run, ExperimentError> {
    let run: RunFile = json(folder.join("run.json"))?.unwrap_or_default();
    let sweep: SweepFile = json(folder.join("sweep.json"))?.unwrap_or_default();
    let summary: Option<Summary> = json(folder.join("summary.json"))?;
    let metrics = Metrics::read(&folder.join("metrics.jsonl"))?;
    let mut config = BTreeMap::new();
    flatten("", &run.config, &mut config);
    let progress = summary.map_or_else(
        || Progress::Unfinished {
            steps: metrics.steps.last().map_or(0, |step| step.step),
            of: metrics.all_steps,
        },
        Progress::Finished,
    );
    Ok(Run {
        name: folder
            .file_name()
            .unwrap_or(folder.as_os_str())
            .to_string_lossy()
            .into_owned(),
        kind: kind_of(&config),
        evaluation: evaluation::read(folder)?,
        wall_seconds: sweep.wall_seconds,
        path: folder.to_owned(),
        config,
        progress,
        metrics,
    })
}

/// What a run was for, by its configuration.
fn kind_of(config: &BTreeMap<String, String>) -> Kind {
    let number = |key| config.get(key).and_then(|value| value.parse::<f64>().ok());
    match (number("train.max_flops"), number("train.distillation_weight")) {
        (Some(0.0), _) => Kind::Untrained,
        (Some(_), _) => Kind::EqualCompute,
        (None, Some(0.0)) => Kind::Supervised,
        (None, _) => Kind::Distilled,
    }
}

/// Puts each leaf of `value` under its key with dots, as text that people read.
fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
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

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join("+"),
        _ => value.to_string(),
    }
}

/// The text of a file; `None` where there is none.
pub(super) fn text(path: &Path) -> Result<Option<String>, ExperimentError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExperimentError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The object in a file; `None` where there is no file.
pub(super) fn json<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>, ExperimentError> {
    let Some(text) = text(&path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| ExperimentError::Damaged {
            path,
            line: None,
            source,
        })
}

/// The objects of a file with one on each line, none where there is no file. A last line without its end is left out: its writer
/// was stopped, or is at it.
pub(super) fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ExperimentError> {
    let text = text(path)?.unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let object = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|source| ExperimentError::Damaged {
            path: path.to_owned(),
            line: Some(index + 1),
            source,
        })
    };
    lines.map(object).collect()
}
