//! The `[sections]` table of a pipeline file: how the chain of thought is recognised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CorpusError, template::SET_BY_RENDERING};

/// A text with a character other than white space, as a regular expression.
const NOT_BLANK: &str = r"\S";

/// How the chain of thought is recognised: the `[sections]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SectionSettings {
    /// The text that opens the chain of thought.
    ///
    /// It may be several tokens long.
    #[schemars(regex(pattern = NOT_BLANK))]
    pub thinking_start: String,
    /// The text that closes the chain of thought.
    ///
    /// It may be several tokens long.
    #[schemars(regex(pattern = NOT_BLANK))]
    pub thinking_end: String,
    /// What happens to a sample without a complete chain of thought.
    pub without_markers: WithoutMarkers,
    /// The field of a message with its thinking; `reasoning_content`, `reasoning` or `thinking` if it is not set.
    pub reasoning_field: Option<String>,
    /// Values for the chat template, such as `{ enable_thinking = true }`.
    ///
    /// They belong to the identity of a cache if there are any.
    pub template_arguments: Map<String, Value>,
}

impl Default for SectionSettings {
    fn default() -> Self {
        Self {
            thinking_start: "<think>".into(),
            thinking_end: "</think>".into(),
            without_markers: WithoutMarkers::default(),
            reasoning_field: None,
            template_arguments: Map::new(),
        }
    }
}

/// What to do with a sample in which no chain of thought is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithoutMarkers {
    /// Drop the sample and count it.
    #[default]
    Skip,
    /// Stop with the file and line.
    Error,
    /// Keep it: the whole of the turn's content is answer.
    Answer,
}

impl SectionSettings {
    /// These settings as a cache's identity states them. Those that came later are left out where they say nothing, so that the
    /// identities of older caches stay as they are.
    pub fn identity(&self) -> Value {
        let mut stated = serde_json::to_value(self).expect("markers, names and JSON values serialize");
        if let Value::Object(settings) = &mut stated {
            settings.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|values| !values.is_empty()));
        }
        stated
    }

    pub(crate) fn check(&self) -> Result<(), CorpusError> {
        let invalid = |key, problem| Err(CorpusError::InvalidSetting { key, problem });
        if self.thinking_start.trim().is_empty() {
            return invalid("sections.thinking_start", "the marker is empty");
        }
        if self.thinking_end.trim().is_empty() {
            return invalid("sections.thinking_end", "the marker is empty");
        }
        if self.thinking_start == self.thinking_end {
            return invalid("sections.thinking_end", "the two thinking markers are the same text");
        }
        if self
            .reasoning_field
            .as_ref()
            .is_some_and(|name| ["role", "content"].contains(&name.as_str()))
        {
            return invalid("sections.reasoning_field", "a message has its role and its text there");
        }
        if let Some((name, _)) = self.template_arguments.iter().find(|(_, value)| has_null(value)) {
            return Err(CorpusError::TemplateArgument {
                name: name.clone(),
                problem: "whose value is not finite: JSON has neither `nan` nor `inf`",
            });
        }
        if self.template_arguments.values().any(has_date) {
            return invalid(
                "sections.template_arguments",
                "a date cannot be given: write it as a text",
            );
        }
        if SET_BY_RENDERING
            .iter()
            .any(|name| self.template_arguments.contains_key(*name))
        {
            return invalid(
                "sections.template_arguments",
                "`messages`, `tools`, `documents` and `add_generation_prompt` come from the rows",
            );
        }
        Ok(())
    }
}

/// Whether a value holds a date of TOML, for which there is no value in a template.
fn has_date(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.keys().any(|name| name.starts_with("$__toml")) || fields.values().any(has_date),
        Value::Array(values) => values.iter().any(has_date),
        _ => false,
    }
}

/// Whether a value holds a null, which TOML does not have: a number that is not finite becomes one.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().any(has_null),
        Value::Array(values) => values.iter().any(has_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_takes_the_documented_defaults() {
        let sections: SectionSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(
            (sections.thinking_start.as_str(), sections.thinking_end.as_str()),
            ("<think>", "</think>")
        );
        assert_eq!(sections.without_markers, WithoutMarkers::Skip);
    }

    #[test]
    fn template_arguments_are_part_of_what_is_stored_only_if_there_are_any() {
        let stored = SectionSettings::identity;
        let named = SectionSettings {
            reasoning_field: Some("thoughts".into()),
            ..SectionSettings::default()
        };
        assert_eq!(stored(&named)["reasoning_field"], "thoughts");
        let mut sections = SectionSettings::default();
        assert_eq!(
            stored(&sections),
            serde_json::json!({"thinking_start": "<think>", "thinking_end": "</think>", "without_markers": "skip"})
        );
        sections
            .template_arguments
            .insert("enable_thinking".into(), false.into());
        assert_eq!(
            stored(&sections)["template_arguments"],
            serde_json::json!({"enable_thinking": false})
        );
        assert!(sections.check().is_ok());
        let refused = |name: &str, value: Value| {
            let mut sections = sections.clone();
            sections.template_arguments.insert(name.into(), value);
            sections.check().is_err()
        };
        assert!(refused("tools", true.into()));
        assert!(refused(
            "day",
            serde_json::json!([{"$__toml_private_datetime": "2026-11-29"}])
        ));
    }

    #[test]
    fn a_template_argument_that_is_not_finite_is_refused_by_name() {
        for value in [
            serde_json::json!(f64::NAN),
            serde_json::json!([{"deep": f64::INFINITY}]),
        ] {
            let mut sections = SectionSettings::default();
            sections.template_arguments.insert("x".into(), value);
            assert_eq!(
                sections.check().unwrap_err().to_string(),
                "`sections.template_arguments` cannot be used: it sets `x`, whose value is not finite: JSON has neither `nan` \
                 nor `inf`"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(serde_json::from_str::<SectionSettings>(r#"{"thinking_begin": "<t>"}"#).is_err());
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_key() {
        let sections = SectionSettings::default();
        assert!(sections.check().is_ok());
        let key = |result: Result<(), CorpusError>| match result.unwrap_err() {
            CorpusError::InvalidSetting { key, .. } => key,
            other => panic!("{other}"),
        };
        let same = SectionSettings {
            thinking_start: "```".into(),
            thinking_end: "```".into(),
            ..sections.clone()
        };
        assert_eq!(key(same.check()), "sections.thinking_end");
        let empty = SectionSettings {
            thinking_start: String::new(),
            ..sections
        };
        assert_eq!(key(empty.check()), "sections.thinking_start");
    }
}
