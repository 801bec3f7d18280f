//! The contents of `inventory.json`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{CacheError, json};

/// The problem of a file that is not the listed one.
pub(crate) const OTHER: &str = "is not the file that is listed in";

/// The format of inventories.
const FORMAT: u32 = 1;

/// What a cache holds, with hashes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    #[serde(deserialize_with = "known_format")]
    format: u32,
    /// blake3 of `identity.json`.
    pub identity: String,
    /// blake3 of the description of each part of the corpus, in order. There may be further parts.
    pub corpus: Vec<String>,
    /// The samples to replay; `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ListedReplay>,
    /// The shards of each layer, by the name of the layer's folder and the name of the work unit.
    pub layers: BTreeMap<String, BTreeMap<String, ListedShard>>,
}

/// The cache of the samples to replay, as listed by the cache around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedReplay {
    /// blake3 of its `identity.json`.
    pub identity: String,
    /// blake3 of the description of each part of its corpus, in order. There may be further parts.
    pub corpus: Vec<String>,
}

/// A shard as it was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedShard {
    /// Size of the whole file, in bytes.
    pub bytes: u64,
    /// blake3 of the whole file.
    pub blake3: String,
    /// blake3 of its tail, which has the hashes of everything else in the file; `None` if its receipt is older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_blake3: Option<String>,
}

/// The listed parts of a corpus, and the inventory that lists them.
#[derive(Clone, Debug)]
pub(crate) struct ListedParts {
    pub(crate) hashes: Vec<String>,
    pub(crate) inventory: PathBuf,
}

impl Inventory {
    /// An inventory of a cache with this identity, which lists nothing else yet.
    pub(super) fn of(identity: String) -> Self {
        Self {
            format: FORMAT,
            identity,
            corpus: Vec::new(),
            replay: None,
            layers: BTreeMap::new(),
        }
    }

    /// The path of a cache's inventory, whether it exists or not.
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("inventory.json")
    }

    /// Reads the inventory of the cache in `dir`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`CacheError::BadJson`] or [`CacheError::UnsupportedVersion`] if it is damaged; [`CacheError::Io`] if it cannot be
    /// read.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, CacheError> {
        let path = Self::path(dir);
        let Some(bytes) = json::read(&path)? else {
            return Ok(None);
        };
        json::from_bytes_of(&bytes, &path, &[FORMAT]).map(Some)
    }

    /// Everything that this inventory or the other one lists.
    ///
    /// # Errors
    ///
    /// If they list different files under one name, and so are of different caches: in what they differ, as the end of a sentence.
    pub fn with(&self, other: &Self) -> Result<Self, String> {
        if self.identity != other.identity {
            return Err(" in the identity".to_owned());
        }
        let corpus = longer(&self.corpus, &other.corpus).ok_or_else(|| " in the corpus".to_owned())?;
        let replay = match (&self.replay, &other.replay) {
            (Some(one), Some(two)) if one.identity == two.identity => Some(ListedReplay {
                identity: one.identity.clone(),
                corpus: longer(&one.corpus, &two.corpus).ok_or_else(|| " in the samples to replay".to_owned())?,
            }),
            (Some(_), Some(_)) => return Err(" in the samples to replay".to_owned()),
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let mut layers = self.layers.clone();
        for (layer, units) in &other.layers {
            let listed = layers.entry(layer.clone()).or_default();
            for (unit, shard) in units {
                let known = listed.entry(unit.clone()).or_insert_with(|| shard.clone());
                if (known.bytes, &known.blake3) != (shard.bytes, &shard.blake3) {
                    return Err(format!(" in the work unit `{unit}` of `{layer}`"));
                }
            }
        }
        Ok(Self {
            format: FORMAT,
            identity: self.identity.clone(),
            corpus,
            replay,
            layers,
        })
    }

    /// The text of the file, byte for byte.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::to_bytes(self)
    }

    /// What it lists of a shard; `None` if it does not list it.
    pub(crate) fn shard(&self, layer: &str, unit: &str) -> Option<&ListedShard> {
        self.layers.get(layer)?.get(unit)
    }
}

/// The longer of two lists, of which the other one is the beginning; `None` if they differ.
fn longer(one: &[String], two: &[String]) -> Option<Vec<String>> {
    let (short, long) = if one.len() < two.len() { (one, two) } else { (two, one) };
    long.starts_with(short).then(|| long.to_vec())
}

/// Refuses another format, also where an inventory is parsed by itself.
fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let format = u32::deserialize(deserializer)?;
    if format == FORMAT {
        return Ok(format);
    }
    let problem = format!("an inventory of format {format}, but only {FORMAT} is supported");
    Err(D::Error::custom(problem))
}

impl ListedParts {
    /// Compares the hash of a part's description.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unlisted`] if another one is listed.
    pub(crate) fn check(&self, part: usize, description: &Path, blake3: &str) -> Result<(), CacheError> {
        match self.hashes.get(part) {
            Some(listed) if listed != blake3 => Err(CacheError::Unlisted {
                path: description.to_owned(),
                problem: OTHER,
                inventory: self.inventory.clone(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "format": 1,
  "identity": "i",
  "corpus": [
    "a"
  ],
  "layers": {
    "0-0.5-answer": {
      "train-000000": {
        "bytes": 3,
        "blake3": "b",
        "tail_blake3": "t"
      }
    }
  }
}
"#;

    fn parsed(text: &str) -> Inventory {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn another_format_is_refused_wherever_an_inventory_is_parsed() {
        let newer = TEXT.replace("\"format\": 1", "\"format\": 2");
        let error = serde_json::from_str::<Inventory>(&newer).unwrap_err().to_string();
        assert!(
            error.starts_with("an inventory of format 2, but only 1 is supported"),
            "{error}"
        );
    }

    #[test]
    fn an_inventory_keeps_its_bytes() {
        let inventory = parsed(TEXT);
        assert_eq!(String::from_utf8(inventory.to_bytes()).unwrap(), TEXT);
    }

    #[test]
    fn inventories_of_one_cache_are_united_and_others_refused() {
        let one = parsed(TEXT);
        let changed = |from: &str, to: &str| -> Inventory { parsed(&TEXT.replace(from, to)) };
        assert_eq!(one.with(&one).unwrap(), one);
        let more = changed("train-000000", "train-000001");
        let both = one.with(&more).unwrap();
        assert_eq!(both.layers["0-0.5-answer"].len(), 2);
        assert_eq!(both.with(&one).unwrap(), both);
        let longer = changed("\"a\"", "\"a\", \"b\"");
        assert_eq!(one.with(&longer).unwrap(), longer);
        for (other, how) in [
            (changed("\"i\"", "\"j\""), "identity"),
            (changed("\"a\"", "\"b\""), "corpus"),
            (changed("\"b\"", "\"c\""), "train-000000"),
        ] {
            assert!(one.with(&other).unwrap_err().contains(how));
        }
    }
}
