//! Names of runs: `proportion-0.5-seed-1`.

use serde_json::Value;

use super::{AxisValue, Baseline};

/// The name of the only run of a sweep without axes.
const ONLY: &str = "run";
/// A longer value is cut and gets a digest.
const LONGEST_VALUE: usize = 40;
/// The length that a cut value keeps beside its digest.
const LEFT: usize = 24;
/// File systems take 255 bytes, some of which are needed for temporary names.
const LONGEST_NAME: usize = 200;

/// The name of the run with these values. Every swept key appears, also one with a single value, so that a run keeps its name
/// when values are added.
pub(super) fn of(baseline: Option<Baseline>, values: &[(&str, &AxisValue)]) -> String {
    joined(baseline.map(Baseline::name), values)
}

/// The name of the run of a case that has a name, with these values of the axes.
pub(super) fn of_case(name: &str, values: &[(&str, &AxisValue)]) -> String {
    joined(Some(name), values)
}

fn joined(first: Option<&str>, values: &[(&str, &AxisValue)]) -> String {
    let pairs = values.iter().map(|(key, value)| match policy(key, &value.setting) {
        Some(text) => format!("{}-{}", short(key), escaped(&text)),
        None => format!("{}-{}", short(key), shown(&value.setting)),
    });
    let name = first
        .map(str::to_owned)
        .into_iter()
        .chain(pairs)
        .collect::<Vec<_>>()
        .join("-");
    match name.as_str() {
        "" => ONLY.to_owned(),
        name => fitted(name, LONGEST_NAME, LONGEST_NAME - 20),
    }
}

/// The name of a run that is a baseline for the run `name`.
pub(super) fn after(baseline: Baseline, name: &str) -> String {
    fitted(&format!("{}-{name}", baseline.name()), LONGEST_NAME + 20, LONGEST_NAME)
}

/// A key without the parts that are obvious.
fn short(key: &str) -> String {
    match key {
        "train.lead_span_proportion" => "proportion".to_owned(),
        "train.supervised_sections" => "sections".to_owned(),
        _ => key.strip_prefix("train.").unwrap_or(key).replace('.', "-"),
    }
}

fn shown(setting: &Value) -> String {
    escaped(&text(setting))
}

/// A supervision policy as text: `mixture-0.33_0.75+1.0_0.25`; `None` if it is none, or only a word.
fn policy(key: &str, setting: &Value) -> Option<String> {
    const POLICIES: [&str; 3] = ["train.lead_span", "train.positions", "train.position_weights"];
    let table = setting.as_object().filter(|_| POLICIES.contains(&key))?;
    let value = |value: &Value| match value {
        Value::Array(items) => {
            let item = |item: &Value| match item {
                Value::Array(parts) => parts.iter().map(text).collect::<Vec<_>>().join("_"),
                item => text(item),
            };
            items.iter().map(item).collect::<Vec<_>>().join("+")
        }
        value => text(value),
    };
    let entries = table.iter().map(|(name, entry)| format!("{name}-{}", value(entry)));
    Some(entries.collect::<Vec<_>>().join("+"))
}

/// Whether a name that was written is one that every file system takes.
pub(super) fn is_plain(name: &str) -> bool {
    name.len() <= LONGEST_VALUE
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && escaped(name) == name
}

/// Text that every file system takes as a name.
fn escaped(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._+-".contains(letter);
    let letters: String = text
        .chars()
        .map(|letter| if plain(letter) { letter } else { '_' })
        .collect();
    if letters == text && !text.is_empty() {
        return fitted(text, LONGEST_VALUE, LEFT);
    }
    let start: String = letters.chars().take(LEFT).collect();
    format!("{start}~{}", digest(text))
}

/// The items of a list are joined by `+`. Deeper values are written as JSON.
fn text(setting: &Value) -> String {
    match setting {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            items.iter().map(text).collect::<Vec<_>>().join("+")
        }
        other => other.to_string(),
    }
}

/// `text` or, if it is too long, its first `left` bytes and a digest of all of it. It must be ASCII.
fn fitted(text: &str, longest: usize, left: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    format!("{}~{}", &text[..left], digest(text))
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..8].to_owned()
}
