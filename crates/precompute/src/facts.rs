//! What is stored beside the prepared corpus, and whether the data are still those it was made of.

use std::{fmt, path::Path};

use leadspan_cache::PreparedCorpus;
use leadspan_corpus::{DataSettings, FileFingerprint, PrepareReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::PrecomputeError;

/// How a corpus was prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The `[data]` table.
    pub data: DataSettings,
    /// The files that were read, in order.
    pub files: Vec<FileFingerprint>,
    /// What became of their rows.
    pub report: PrepareReport,
}

/// The first way in which data differ from those a cache was prepared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataChange {
    /// A setting has another value.
    Setting {
        /// The key, with its table.
        key: String,
        /// Its value when the cache was prepared.
        stored: String,
        /// Its value now.
        asked: String,
    },
    /// A file has other contents.
    Modified {
        /// The file.
        path: String,
    },
    /// A file is named that was not.
    Added {
        /// The file.
        path: String,
    },
    /// A file is no longer named.
    Removed {
        /// The file.
        path: String,
    },
}

impl DataChange {
    /// How to mend it.
    pub(crate) fn hint(&self) -> String {
        let elsewhere = "point `cache.dir` at a new folder";
        match self {
            Self::Setting { key, stored, .. } => format!("set `{key} = {stored}` to use this cache, or {elsewhere}"),
            Self::Modified { path } => format!("restore `{path}` to use this cache, or {elsewhere}"),
            Self::Added { path } => format!("take `{path}` out of `data.files` to use this cache, or {elsewhere}"),
            Self::Removed { path } => format!("name `{path}` in `data.files` to use this cache, or {elsewhere}"),
        }
    }
}

impl fmt::Display for DataChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { key, stored, asked } => {
                write!(formatter, "`{key}` was `{stored}`, but `{asked}` is asked for")
            }
            Self::Modified { path } => write!(formatter, "`{path}` had other contents"),
            Self::Added { path } => write!(formatter, "`{path}` was not among its files"),
            Self::Removed { path } => write!(formatter, "`{path}` was among its files"),
        }
    }
}

impl Facts {
    /// The facts stored with a corpus.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::UnreadableFacts`] where they are not what this version stores.
    pub fn of(corpus: &PreparedCorpus, cache: &Path) -> Result<Self, PrecomputeError> {
        serde_json::from_value(corpus.facts().clone()).map_err(|source| PrecomputeError::UnreadableFacts {
            cache: cache.to_owned(),
            source,
        })
    }

    /// As it is stored.
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("settings, names and numbers serialize")
    }

    /// The first difference from data asked for now. How patterns name the files does not matter, only which they are.
    pub(crate) fn change(&self, data: &DataSettings, files: &[FileFingerprint]) -> Option<DataChange> {
        let (stored, asked) = (settings(&self.data), settings(data));
        let setting = asked
            .iter()
            .zip(&stored)
            .find(|((_, asked), (_, stored))| asked != stored);
        if let Some(((key, asked), (_, stored))) = setting {
            let key = format!("data.{key}");
            return Some(DataChange::Setting {
                key,
                stored: stored.to_string(),
                asked: asked.to_string(),
            });
        }
        let find = |files: &[FileFingerprint], path: &str| files.iter().find(|file| file.path == path).cloned();
        for file in files {
            match find(&self.files, &file.path) {
                None => {
                    return Some(DataChange::Added {
                        path: file.path.clone(),
                    });
                }
                Some(stored) if stored != *file => {
                    return Some(DataChange::Modified {
                        path: file.path.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        let removed = self.files.iter().find(|stored| find(files, &stored.path).is_none())?;
        Some(DataChange::Removed {
            path: removed.path.clone(),
        })
    }
}

/// Keys and values of the table in the order of its fields, less `files`.
fn settings(data: &DataSettings) -> Vec<(String, Value)> {
    let table = serde_json::to_value(data).expect("settings serialize");
    let fields = table.as_object().expect("settings are a table");
    fields
        .iter()
        .filter(|(key, _)| *key != "files")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, contents: &str) -> FileFingerprint {
        FileFingerprint {
            path: path.to_owned(),
            bytes: contents.len() as u64,
            blake3: contents.to_owned(),
        }
    }

    fn data(json: &str) -> DataSettings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_kind_of_change_is_named_with_its_remedy() {
        let files = vec![file("a.jsonl", "a"), file("b.jsonl", "b")];
        let facts = Facts {
            data: data(r#"{"files": ["*.jsonl"], "max_tokens": 100}"#),
            files: files.clone(),
            report: PrepareReport::default(),
        };
        let same = data(r#"{"files": ["a.jsonl", "b.jsonl"], "max_tokens": 100}"#);
        assert_eq!(facts.change(&same, &files), None);
        let says = |data: &DataSettings, files: &[FileFingerprint], what: &str, remedy: &str| {
            let change = facts.change(data, files).unwrap();
            assert!(change.to_string().contains(what), "{change}");
            assert!(change.hint().contains(remedy), "{}", change.hint());
        };
        let longer = data(r#"{"files": ["*.jsonl"], "max_tokens": 200}"#);
        says(
            &longer,
            &files,
            "`data.max_tokens` was `100`, but `200`",
            "`data.max_tokens = 100`",
        );
        says(
            &same,
            &[files[0].clone(), file("b.jsonl", "c")],
            "`b.jsonl` had other contents",
            "restore `b.jsonl`",
        );
        says(&same, &files[..1], "`b.jsonl` was among", "name `b.jsonl`");
        let more = [files, vec![file("c.jsonl", "c")]].concat();
        says(&same, &more, "`c.jsonl` was not among", "take `c.jsonl` out");
    }

    #[test]
    fn facts_survive_being_stored() {
        let facts = Facts {
            data: data(r#"{"files": ["a"], "validation": 0.25, "on_bad_row": "skip"}"#),
            files: vec![file("a", "a")],
            report: PrepareReport::default(),
        };
        assert_eq!(serde_json::from_value::<Facts>(facts.to_value()).unwrap(), facts);
    }
}
