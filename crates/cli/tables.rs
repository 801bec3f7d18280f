//! The tables of a pipeline file as settings, and the JSON schema that they make.
//!
//! The types of the fields of [`Tables`] are the only declaration of a setting: its name, type, default and meaning.
//! `--help`, `leadspan config` and the check for unknown keys all read the schema.

use leadspan_corpus::{DataSettings, SectionSettings};
use leadspan_evaluate::EvaluateSettings;
use leadspan_precompute::{CacheSettings, TeacherSettings};
use leadspan_train::{StudentSettings, TrainSettings};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    replay::ReplaySettings,
    sweep_table::{OwnSettings, SweepSettings},
};

/// The tables of a pipeline file, with defaults filled in.
#[derive(Debug, JsonSchema, Serialize)]
#[schemars(
    title = "leadspan pipeline file",
    description = "A TOML file that describes a distillation: the teacher, the data, what is cached, how the student is \
                   trained, and what is evaluated or swept over. Every command reads the tables that it needs.",
    deny_unknown_fields
)]
pub(crate) struct Tables {
    /// The model whose distributions are captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) teacher: Option<TeacherSettings>,
    /// The rows that samples are made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<DataSettings>,
    /// How the chain of thought is recognised.
    #[schemars(with = "Option<SectionSettings>")]
    pub(crate) sections: SectionSettings,
    /// What is captured, and where it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<CacheSettings>,
    /// What the student starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) student: Option<StudentSettings>,
    /// How the student is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<TrainSettings>,
    /// Complete samples that go into every training step beside those that are distilled.
    #[schemars(with = "Option<ReplaySettings>")]
    pub(crate) replay: ReplaySettings,
    /// The problems that are put to a model, and how it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evaluate: Option<EvaluateSettings>,
    /// What a sweep is over: keys of its own, and keys of other tables with a list of values each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OwnSettings>")]
    pub(crate) sweep: Option<SweepSettings>,
}

impl Tables {
    /// The JSON schema of a pipeline file, without the keys of other tables that `[sweep]` takes.
    pub(crate) fn schema() -> Value {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<Self>().to_value();
        as_toml(&mut schema);
        schema
    }
}

/// Adapts the schema to TOML: without null, and with each default in the form that its key takes.
fn as_toml(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            entries.values_mut().for_each(as_toml);
            without_null(entries);
            // Editors do not know the sizes of Rust's numbers. A key may also be called `format`.
            if entries.get("format").is_some_and(Value::is_string) {
                entries.shift_remove("format");
            }
            if let Some(Value::String(text)) = entries.get_mut("description") {
                *text = unwrapped(text);
            }
            // Proportions are stored as text.
            let is_number = entries
                .get("type")
                .is_some_and(|kind| kind.to_string().contains("number"));
            if let Some(default) = entries.get_mut("default")
                && let Some(number) = default.as_str().and_then(|text| text.parse::<f64>().ok())
                && is_number
            {
                *default = number.into();
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(as_toml),
        _ => {}
    }
}

/// Removes null from the values of an optional key.
fn without_null(entries: &mut Map<String, Value>) {
    if entries.get("default").is_some_and(Value::is_null) {
        entries.shift_remove("default");
    }
    if let Some(Value::Array(kinds)) = entries.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = &kinds[..] {
            let only = only.clone();
            entries.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = entries.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice["type"] != "null");
    if let [Value::Object(only)] = &mut choices[..] {
        let only = std::mem::take(only);
        entries.shift_remove("anyOf");
        for (name, value) in only {
            // The description of the field takes precedence over that of its type.
            entries.entry(name).or_insert(value);
        }
    }
}

/// Paragraphs without the line breaks of the source.
fn unwrapped(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    paragraphs.join("\n\n")
}
