//! `origin.json`: what a cache was cut from or merged of, and how.
//!
//! The file is written before anything else, so that a command that is run again finds whether the folder is its own. Nothing
//! else reads it, and older programs ignore it.

use std::{fs, path::Path};

use leadspan_files::commit_bytes;
use leadspan_sequence::{LeadSpanProportion, SectionSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Cache, CacheError, json};

/// The name of the file, inside a cache's folder.
const ORIGIN: &str = "origin.json";

/// The format of the file.
const FORMAT: u32 = 1;

/// How a cache was made of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// It was cut from another cache.
    Cut(Cut),
    /// It was merged of these caches, in this order.
    Merge(Vec<Source>),
}

/// A cut. A setting that was not given is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cut {
    pub(super) from: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proportion: Option<LeadSpanProportion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sections: Option<SectionSet>,
    /// blake3 of the ids of the samples, sorted, each with a line end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) samples_blake3: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) top_k: Option<u32>,
}

/// A cache that blocks were copied from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// blake3 of its inventory as it was then, or would have been if it had none.
    pub(super) inventory_blake3: String,
}

#[derive(Serialize)]
struct File<'a> {
    format: u32,
    #[serde(flatten)]
    origin: &'a Origin,
}

impl Source {
    /// What stands for the contents of `cache`.
    ///
    /// # Errors
    ///
    /// The error of a file that cannot be read.
    pub(super) fn of(cache: &Cache) -> Result<Self, CacheError> {
        Ok(Self {
            inventory_blake3: cache.contents_blake3()?,
        })
    }
}

/// Makes sure that the cache in `dir` has this origin: writes it if the folder is empty, and compares it otherwise. The caller
/// holds the lock on the folder.
///
/// # Errors
///
/// [`CacheError::OtherOrigin`] if the folder holds a cache of another origin; [`CacheError::Occupied`] if it holds other files.
pub(super) fn settle(dir: &Path, origin: &Origin) -> Result<(), CacheError> {
    let path = dir.join(ORIGIN);
    let asked = json::to_bytes(&File { format: FORMAT, origin });
    let Some(found) = json::read(&path)? else {
        if Cache::open_if_there(dir)?.is_some() {
            return Err(was_captured(dir));
        }
        require_empty(dir)?;
        return Ok(commit_bytes(&path, &asked)?);
    };
    if found == asked {
        return Ok(());
    }
    let stored: Value = json::from_bytes_of(&found, &path, &[FORMAT])?;
    let asked: Value = json::from_bytes_of(&asked, &path, &[FORMAT])?;
    Err(CacheError::OtherOrigin {
        path: dir.to_owned(),
        problem: difference("", &stored, &asked).unwrap_or_else(|| "its `origin.json` was edited".to_owned()),
    })
}

/// The origin of the cache in `dir` as it is stored; `None` if it was captured.
///
/// # Errors
///
/// [`CacheError::BadJson`] or [`CacheError::UnsupportedVersion`] if it is damaged.
pub(crate) fn stored(dir: &Path) -> Result<Option<Value>, CacheError> {
    let path = dir.join(ORIGIN);
    match json::read(&path)? {
        None => Ok(None),
        Some(bytes) => {
            let mut value: Value = json::from_bytes_of(&bytes, &path, &[FORMAT])?;
            if let Some(keys) = value.as_object_mut() {
                keys.remove("format");
            }
            Ok(Some(value))
        }
    }
}

/// The first value in which two origins differ, with its name.
fn difference(name: &str, stored: &Value, asked: &Value) -> Option<String> {
    if stored == asked {
        return None;
    }
    if let (Value::Object(one), Value::Object(other)) = (stored, asked) {
        let of = |keys: &serde_json::Map<String, Value>, key: &str| keys.get(key).cloned().unwrap_or(Value::Null);
        let mut keys = one.keys().chain(other.keys());
        return keys.find_map(|key| {
            let name = if name.is_empty() {
                key.clone()
            } else {
                format!("{name}.{key}")
            };
            difference(&name, &of(one, key), &of(other, key))
        });
    }
    let shown = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        value => format!("`{value}`"),
    };
    Some(format!("its `{name}` is {}, not {}", shown(stored), shown(asked)))
}

/// The hidden folder, inside that of a cache which is cut from a store, for the files that describe the larger cache.
pub const FRAME: &str = ".pulling";

/// Refuses a folder that a cut cannot go on with or begin in, before anything is known of the cache that is cut.
///
/// # Errors
///
/// [`CacheError::OtherOrigin`] if it holds a cache that was captured; [`CacheError::Occupied`] if it holds other files.
pub fn require_place(dir: &Path) -> Result<(), CacheError> {
    if stored(dir)?.is_some() || !dir.exists() {
        return Ok(());
    }
    if Cache::open_if_there(dir)?.is_some() {
        return Err(was_captured(dir));
    }
    require_empty(dir)
}

fn was_captured(dir: &Path) -> CacheError {
    CacheError::OtherOrigin {
        path: dir.to_owned(),
        problem: "it was captured".to_owned(),
    }
}

/// Refuses a folder in which there is anything but what this program leaves when it is killed at once.
fn require_empty(dir: &Path) -> Result<(), CacheError> {
    let failed = || CacheError::io("list", dir);
    let ours = |name: &str| name == ".claims" || name == FRAME || leadspan_files::temporary_of(name) == Some(ORIGIN);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed())? {
        names.push(entry.map_err(failed())?.file_name());
    }
    names.sort();
    match names.into_iter().find(|name| !name.to_str().is_some_and(ours)) {
        None => Ok(()),
        Some(name) => Err(CacheError::Occupied {
            path: dir.to_owned(),
            found: dir.join(name),
        }),
    }
}

/// Refuses an output folder that is one of the sources.
///
/// # Errors
///
/// [`CacheError::OtherOrigin`] if it is.
pub(super) fn require_elsewhere(dir: &Path, sources: &[&Cache]) -> Result<(), CacheError> {
    let Ok(place) = fs::canonicalize(dir) else {
        // It is not there yet.
        return Ok(());
    };
    for source in sources {
        let path = source.dir();
        let canonical = fs::canonicalize(path).map_err(CacheError::io("open", path))?;
        if place == canonical {
            return Err(CacheError::OtherOrigin {
                path: dir.to_owned(),
                problem: "it is the cache that is read".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;
    use serde_json::json;

    use super::*;
    use crate::tests::synthetic;

    fn cut(top_k: Option<u32>) -> Origin {
        Origin::Cut(Cut {
            from: Source {
                inventory_blake3: "ab".into(),
            },
            proportion: Some("0.5".parse().unwrap()),
            sections: None,
            samples_blake3: None,
            top_k,
        })
    }

    #[test]
    fn an_origin_is_written_into_an_empty_folder_and_another_one_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert_eq!(stored(dir).unwrap(), None);
        fs::create_dir(dir.join(".claims")).unwrap();
        fs::write(dir.join(".origin.json.Ab12cd.tmp"), b"{").unwrap();
        settle(dir, &cut(None)).unwrap();
        settle(dir, &cut(None)).unwrap();
        let expected = json!({ "cut": { "from": { "inventory_blake3": "ab" }, "proportion": "0.5" } });
        assert_eq!(stored(dir).unwrap(), Some(expected));
        let error = settle(dir, &cut(Some(8))).unwrap_err();
        assert!(
            error.to_string().contains("its `cut.top_k` is nothing, not `8`") && error.hint().is_some(),
            "{error}"
        );
        assert!(settle(dir, &Origin::Merge(Vec::new())).is_err());
        fs::write(dir.join(ORIGIN), b"{").unwrap();
        assert!(matches!(settle(dir, &cut(None)), Err(CacheError::BadJson { .. })));
    }

    #[test]
    fn captured_caches_and_folders_of_others_are_refused() {
        let prepared = synthetic::prepared(2, 1, 2);
        let error = settle(prepared.cache.dir(), &cut(None)).unwrap_err();
        assert!(error.to_string().contains("it was captured"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), b"mine").unwrap();
        let error = settle(folder.path(), &cut(None)).unwrap_err();
        assert!(
            matches!(&error, CacheError::Occupied { found, .. } if found.ends_with("notes.txt")),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let own = require_elsewhere(prepared.cache.dir(), &[&prepared.cache]).unwrap_err();
        assert!(own.to_string().contains("it is the cache that is read"), "{own}");
        require_elsewhere(folder.path(), &[&prepared.cache]).unwrap();
    }
}
