//! How each part of the prepared corpus was made, and whether the settings have changed since.

use std::path::Path;

use leadspan_cache::PreparedCorpus;
use leadspan_corpus::{DataSettings, FileFingerprint, PrepareReport, RowRules};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{PrecomputeError, error::NOT_SET};

/// How a part of a corpus was prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The `[data]` table.
    pub data: DataSettings,
    /// The files that were read, in order: all of the data, also for a part that holds only appended rows.
    pub files: Vec<FileFingerprint>,
    /// What became of their rows. The counts include the samples of earlier parts.
    pub report: PrepareReport,
    /// The rules by which its rows became conversations.
    #[serde(default)]
    pub rules: RowRules,
}

/// A setting whose value differs from the one that the cache was prepared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingChange {
    /// The key, with its table.
    pub(crate) key: String,
    /// Its value when the cache was prepared.
    pub(crate) stored: String,
    /// Its value now.
    pub(crate) asked: String,
}

impl Provenance {
    /// The provenance stored with the newest part of a corpus.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::UnreadableProvenance`] if it is not in the form that this version stores.
    pub fn of(corpus: &PreparedCorpus, cache: &Path) -> Result<Self, PrecomputeError> {
        serde_json::from_value(corpus.provenance().clone()).map_err(|source| PrecomputeError::UnreadableProvenance {
            cache: cache.to_owned(),
            source,
        })
    }

    /// The provenance in the form that is stored.
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("settings, names and numbers serialize")
    }

    /// The first setting that differs from `data`. The keys that name files do not count, nor does the largest size of a row.
    pub(crate) fn changed_setting(&self, data: &DataSettings) -> Option<SettingChange> {
        let (stored, asked) = (settings(&self.data), settings(data));
        let of = |table: &Map<String, Value>, key: &str| table.get(key).cloned().unwrap_or(Value::Null);
        // A key that is not set may be absent.
        let mut keys = asked.keys().chain(stored.keys());
        let key = keys.find(|key| of(&asked, key) != of(&stored, key))?;
        Some(SettingChange {
            key: format!("data.{key}"),
            stored: shown(&of(&stored, key)),
            asked: shown(&of(&asked, key)),
        })
    }
}

/// A value for messages.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => NOT_SET.to_owned(),
        value => value.to_string(),
    }
}

/// The keys and values of the table in the order of its fields, without those that say only which rows are read. The format that
/// is not named is the default.
fn settings(data: &DataSettings) -> Map<String, Value> {
    const ROWS: [&str; 5] = ["files", "path", "split", "config", "max_row_mib"];
    let named = DataSettings {
        format: Some(data.format()),
        ..data.clone()
    };
    let Ok(Value::Object(table)) = serde_json::to_value(named) else {
        unreachable!("settings are a table")
    };
    table
        .into_iter()
        .filter(|(key, _)| !ROWS.contains(&key.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(json: &str) -> DataSettings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_first_setting_that_changed_is_named_with_both_values() {
        let provenance = Provenance {
            data: data(r#"{"files": ["*.jsonl"], "max_tokens": 100}"#),
            files: Vec::new(),
            report: PrepareReport::default(),
            rules: RowRules::CURRENT,
        };
        let same = data(r#"{"files": ["a.jsonl", "b.jsonl"], "max_tokens": 100}"#);
        assert_eq!(provenance.changed_setting(&same), None);
        let folder = data(r#"{"path": "folder", "split": "train", "max_tokens": 100}"#);
        assert_eq!(provenance.changed_setting(&folder), None);
        let longer = data(r#"{"files": ["*.jsonl"], "max_tokens": 200}"#);
        let of = |key: &str, stored: &str, asked: &str| SettingChange {
            key: key.to_owned(),
            stored: stored.to_owned(),
            asked: asked.to_owned(),
        };
        assert_eq!(
            provenance.changed_setting(&longer),
            Some(of("data.max_tokens", "100", "200"))
        );
        let named = data(r#"{"files": ["*.jsonl"], "max_tokens": 100, "format": "messages"}"#);
        assert_eq!(provenance.changed_setting(&named), None);
        let columns = data(r#"{"files": ["*.jsonl"], "max_tokens": 100, "format": "columns"}"#);
        assert_eq!(
            provenance.changed_setting(&columns),
            Some(of("data.format", "\"messages\"", "\"columns\""))
        );
        let filtered = data(r#"{"files": ["*.jsonl"], "max_tokens": 100, "where": {"task": "math"}}"#);
        assert_eq!(
            provenance.changed_setting(&filtered),
            Some(of("data.where", "{}", r#"{"task":"math"}"#))
        );
        let config = data(r#"{"path": "folder", "config": "main", "max_row_mib": 1, "max_tokens": 100}"#);
        assert_eq!(provenance.changed_setting(&config), None);
        let system = data(r#"{"files": ["*.jsonl"], "max_tokens": 100, "system": "s"}"#);
        assert_eq!(
            provenance.changed_setting(&system),
            Some(of("data.system", "not set", "\"s\""))
        );
        let other = Provenance {
            data: system,
            ..provenance.clone()
        };
        assert_eq!(
            other.changed_setting(&same),
            Some(of("data.system", "\"s\"", "not set"))
        );
        let split = data(r#"{"files": ["*.jsonl"], "max_tokens": 100, "validation": 0.5}"#);
        assert_eq!(
            provenance.changed_setting(&split),
            Some(of("data.validation", "0", "0.5"))
        );
    }

    #[test]
    fn provenance_survives_being_stored() {
        let provenance = Provenance {
            data: data(r#"{"files": ["a"], "validation": 0.25, "on_bad_row": "skip"}"#),
            files: vec![FileFingerprint {
                path: "a".to_owned(),
                bytes: 1,
                blake3: "a".to_owned(),
            }],
            report: PrepareReport::default(),
            rules: RowRules::CURRENT,
        };
        let stored = provenance.to_value();
        assert_eq!(
            serde_json::from_value::<Provenance>(stored.clone()).unwrap(),
            provenance
        );
        // A corpus that does not name its rules was prepared with the first, and has no count of duplicates.
        let Value::Object(mut old) = stored else {
            panic!("no table")
        };
        old.remove("rules");
        old["report"].as_object_mut().unwrap().remove("duplicates");
        let read: Provenance = serde_json::from_value(old.into()).unwrap();
        assert_eq!((read.rules, read.report.duplicates), (RowRules::First, 0));
    }
}
