//! What the JSON files of a cache say about its other files. `docs/format.md` describes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::StoreError;

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

/// What a receipt says of its shard.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) shard: Region,
}

/// What `identity.json` says of other files.
#[derive(Debug, Deserialize)]
pub(crate) struct Identity {
    /// blake3 of each file in `tokenizer/`.
    pub(crate) tokenizer_files: BTreeMap<String, String>,
}

/// What the description of a part of the corpus says of its data files.
#[derive(Debug, Deserialize)]
pub(crate) struct Description {
    pub(crate) table: Region,
    /// Absent in format 2, whose table is `samples.parquet`.
    #[serde(default)]
    pub(crate) tokens: Option<Region>,
}

/// What a manifest says.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) units: u64,
}

/// The contents of `inventory.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inventory {
    format: u32,
    pub(crate) identity: String,
    pub(crate) corpus: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<Replay>,
    pub(crate) layers: BTreeMap<String, BTreeMap<String, Listed>>,
}

/// The samples to replay, as an inventory lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    pub(crate) identity: String,
    pub(crate) corpus: Vec<String>,
}

/// A shard, as an inventory lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tail_blake3: Option<String>,
}

impl Inventory {
    /// Everything that this inventory or the other one lists. Two that list different files under one name are of different
    /// caches: the error says in what.
    pub(crate) fn with(&self, other: &Self) -> Result<Self, String> {
        if self.identity != other.identity {
            return Err(" in the identity".to_owned());
        }
        let corpus = longer(&self.corpus, &other.corpus).ok_or_else(|| " in the corpus".to_owned())?;
        let replay = match (&self.replay, &other.replay) {
            (Some(one), Some(two)) if one.identity == two.identity => Some(Replay {
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
            format: self.format.max(other.format),
            identity: self.identity.clone(),
            corpus,
            replay,
            layers,
        })
    }

    /// The text of the file, byte for byte as a cache has it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain structures with string keys always serialize");
        bytes.push(b'\n');
        bytes
    }
}

/// The longer of two lists, of which the other one is the beginning; `None` if they differ.
fn longer(one: &[String], two: &[String]) -> Option<Vec<String>> {
    let (short, long) = if one.len() < two.len() { (one, two) } else { (two, one) };
    long.starts_with(short).then(|| long.to_vec())
}

/// Parses a JSON file that is at `place`.
pub(crate) fn parsed<T: DeserializeOwned>(bytes: &[u8], place: &str) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::BadJson {
        place: place.to_owned(),
        source,
    })
}

/// The blake3 of bytes, in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
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

    #[test]
    fn an_inventory_keeps_its_bytes() {
        let inventory: Inventory = parsed(TEXT.as_bytes(), "inventory.json").unwrap();
        assert_eq!(String::from_utf8(inventory.to_bytes()).unwrap(), TEXT);
    }

    #[test]
    fn inventories_of_one_cache_are_united_and_others_refused() {
        let one: Inventory = parsed(TEXT.as_bytes(), "").unwrap();
        let changed = |from: &str, to: &str| -> Inventory { parsed(TEXT.replace(from, to).as_bytes(), "").unwrap() };
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
