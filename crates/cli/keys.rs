//! Every key of the pipeline file, with its type, its default and its meaning.
//!
//! The keys are read from the schema of [`Tables`]: nothing about a setting is declared here.

use std::{fmt::Write as _, sync::LazyLock};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::tables::Tables;

/// One key of the pipeline file.
#[derive(Debug, Serialize)]
pub(crate) struct Key {
    /// The table it belongs to.
    pub(crate) table: String,
    /// Its name inside the table, dotted where tables nest.
    pub(crate) name: String,
    /// The type of its values, such as `integer` or `"token" | "sequence"`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its value if the file does not set it.
    pub(crate) default: Unset,
    /// Its meaning: a phrase without a full stop.
    pub(crate) about: String,
    /// The words that it, or an item of its list, may be; empty if it takes other values.
    #[serde(skip)]
    words: Vec<String>,
}

/// The value of a key that the file does not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unset {
    /// The file must set it if its table is needed.
    Required,
    /// It stays unset.
    Absent,
    /// This TOML value.
    Is(String),
}

use Unset::{Absent, Is, Required};

/// `required`, nothing, or the value as TOML.
impl Serialize for Unset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Required => serializer.serialize_str("required"),
            Absent => serializer.serialize_none(),
            Is(value) => serializer.serialize_str(value),
        }
    }
}

/// A table of the pipeline file, and its purpose.
struct NamedTable {
    name: String,
    about: String,
}

/// All tables and keys, in the order in which they are shown.
static TABLES: LazyLock<(Vec<NamedTable>, Vec<Key>)> = LazyLock::new(|| {
    let schema = Tables::schema();
    let (mut tables, mut keys) = (Vec::new(), Vec::new());
    for (name, table) in properties(&schema) {
        tables.push(NamedTable {
            name: name.clone(),
            about: about(table),
        });
        add_keys(name, ("", false), table, &mut keys);
    }
    (tables, keys)
});

/// All keys, in the order in which they are shown.
pub(crate) fn all() -> &'static [Key] {
    &TABLES.1
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flat_map(Map::iter)
}

/// Adds the keys of a table whose names begin with `prefix`. If the table `is_optional`, none of them is set unless the file has
/// the table.
fn add_keys(table: &str, (prefix, is_optional): (&str, bool), schema: &Value, keys: &mut Vec<Key>) {
    let is_required = |name: &str| {
        schema["required"]
            .as_array()
            .is_some_and(|names| names.contains(&name.into()))
    };
    for (name, key) in properties(schema) {
        let full = format!("{prefix}{name}");
        if key.get("properties").is_some() {
            let has_required = key["required"].as_array().is_some_and(|names| !names.is_empty());
            let is_optional = has_required && !is_required(name);
            add_keys(table, (&format!("{full}."), is_optional), key, keys);
            continue;
        }
        let default = match key.get("default") {
            _ if is_optional => Absent,
            _ if is_required(name) => Required,
            None => Absent,
            Some(value) => Is(toml(value)),
        };
        keys.push(Key {
            table: table.to_owned(),
            name: full,
            kind: kind(key),
            default,
            about: about(key),
            words: match key.get("items") {
                Some(items) => words(items),
                None => words(key),
            },
        });
    }
}

/// A default as TOML.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}

/// The type of a key, in the terms of TOML.
fn kind(schema: &Value) -> String {
    let words = words(schema);
    if !words.is_empty() {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        return quoted.join(" | ");
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf") {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" | ");
    }
    match &schema["type"] {
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" | ")
        }
        Value::String(name) => match name.as_str() {
            "array" => match &schema["prefixItems"] {
                Value::Array(items) => format!("[{}]", items.iter().map(kind).collect::<Vec<_>>().join(", ")),
                _ => format!("[{}, …]", kind(&schema["items"])),
            },
            // Only a table that is one of several choices has keys here.
            "object" => match properties(schema)
                .map(|(name, value)| format!("{name} = {}", kind(value)))
                .collect::<Vec<_>>()
            {
                keys if keys.is_empty() => "table".to_owned(),
                keys => format!("{{ {} }}", keys.join(", ")),
            },
            name => name.to_owned(),
        },
        _ => "any".to_owned(),
    }
}

/// The words that a setting may be.
fn words(schema: &Value) -> Vec<String> {
    let mut words = Vec::new();
    let choices = schema["oneOf"]
        .as_array()
        .map_or(std::slice::from_ref(schema), Vec::as_slice);
    for choice in choices {
        let listed = choice["enum"].as_array().into_iter().flatten();
        words.extend(
            listed
                .chain(choice.get("const"))
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
    }
    words
}

/// The first paragraph of a description as a phrase: without its full stop, and starting in lower case.
fn about(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = first.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(one), Some(two)) if !two.is_uppercase() => one.to_lowercase().chain(letters).collect(),
        _ => first.to_owned(),
    }
}

/// The names of the tables, in the order in which they are shown.
pub(crate) fn tables() -> Vec<&'static str> {
    TABLES.0.iter().map(|table| table.name.as_str()).collect()
}

/// The keys of one table.
pub(crate) fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    all().iter().filter(move |key| key.table == table)
}

/// Whether `name` is a key of `table`.
pub(crate) fn is_key(table: &str, name: &str) -> bool {
    keys_of(table).any(|key| key.name == name)
}

/// Whether `name` is a table nested in `table`.
pub(crate) fn is_nested_table(table: &str, name: &str) -> bool {
    keys_of(table).any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The table whose name is most similar to `given`; `None` if none is similar.
pub(crate) fn nearest_table(given: &str) -> Option<String> {
    nearest(given, tables().into_iter().map(|table| (table, format!("[{table}]"))))
}

/// The full name of the key that `name` in `table` most likely stands for.
///
/// A key of the same table is preferred, then a key with exactly this name in another table.
pub(crate) fn nearest_key(table: &str, name: &str) -> Option<String> {
    let full = |key: &Key| format!("{}.{}", key.table, key.name);
    nearest(name, keys_of(table).map(|key| (key.name.as_str(), full(key))))
        .or_else(|| all().iter().find(|key| key.name == name).map(full))
        .or_else(|| nearest(name, all().iter().map(|key| (key.name.as_str(), full(key)))))
}

/// The least similarity, from 0 to 1, at which one name is suggested for another.
const ALIKE: f64 = 0.8;

fn nearest(given: &str, known: impl Iterator<Item = (&'static str, String)>) -> Option<String> {
    known
        .map(|(name, shown)| (strsim::jaro_winkler(given, name), shown))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, shown)| shown)
}

/// The keys of some tables for `--help`: text that can be pasted into a file, with defaults filled in.
pub(crate) fn help(shown: &[&str]) -> String {
    const SETTING: usize = 32;
    const ABOUT: usize = 60;
    let mut text = String::from("Keys of the pipeline file, with their defaults (paths are relative to the file):\n");
    for table in shown {
        let _ = write!(text, "\n  [{table}]\n");
        for key in keys_of(table) {
            let (setting, required) = match &key.default {
                Required => (format!("{} = …", key.name), "required: "),
                Absent => (format!("# {} = …", key.name), ""),
                Is(value) => (format!("{} = {value}", key.name), ""),
            };
            let words = match &key.words[..] {
                [] => String::new(),
                words => format!(": {}", words.join(" | ")),
            };
            let mut abouts = wrapped(&format!("{required}{}{words}", key.about), ABOUT).into_iter();
            let beside = if setting.len() > SETTING { None } else { abouts.next() };
            let _ = match beside {
                Some(about) => writeln!(text, "  {setting:SETTING$}  # {about}"),
                None => writeln!(text, "  {setting}"),
            };
            for about in abouts {
                let _ = writeln!(text, "  {:SETTING$}  # {about}", "");
            }
        }
    }
    text.push_str("\nSet any of them for one run with --set table.key=value; `leadspan config` lists all keys.\n");
    text
}

/// The reference of the pipeline file: every key with its type, its default and its meaning, by table.
pub(crate) fn reference() -> String {
    const WIDTH: usize = 92;
    let mut text = String::new();
    for table in &TABLES.0 {
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}[{}]  {}", table.name, table.about);
        for key in keys_of(&table.name) {
            let default = match &key.default {
                Required => "required".to_owned(),
                Absent => "not set".to_owned(),
                Is(value) => format!("default {value}"),
            };
            let _ = writeln!(text, "\n  {}", key.name);
            for line in wrapped(&format!("{}; {default}", key.kind), WIDTH) {
                let _ = writeln!(text, "      {line}");
            }
            for line in wrapped(&key.about, WIDTH) {
                let _ = writeln!(text, "      {line}");
            }
        }
    }
    text
}

/// Breaks text into lines of at most `width` characters. A longer word gets a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_a_misspelt_key_a_similar_key_is_suggested() {
        assert_eq!(nearest_key("cache", "top_kk").as_deref(), Some("cache.top_k"));
        assert_eq!(
            nearest_key("train", "lead_span_proprotion").as_deref(),
            Some("train.lead_span_proportion")
        );
        assert_eq!(
            nearest_key("data", "columns.anser").as_deref(),
            Some("data.columns.answer")
        );
        assert_eq!(nearest_key("data", "zzz"), None);
        assert_eq!(nearest_table("trian").as_deref(), Some("[train]"));
        assert_eq!(nearest_table("kitchen"), None);
    }

    #[test]
    fn keys_of_a_table_that_need_not_be_there_are_not_set_unasked() {
        for key in keys_of("student").filter(|key| key.name.starts_with("lora.")) {
            assert_eq!(key.default, Absent, "{}", key.name);
        }
        assert!(is_key("student", "lora.rank") && is_nested_table("student", "lora"));
        assert!(is_key("data", "columns.answer"));
    }

    #[test]
    fn a_key_of_another_table_is_suggested_with_its_table() {
        assert_eq!(nearest_key("teacher", "top_k").as_deref(), Some("cache.top_k"));
    }

    #[test]
    fn help_lines_fit_a_terminal() {
        for line in help(&tables()).lines() {
            assert!(line.chars().count() <= 98, "{line}");
        }
    }
}
