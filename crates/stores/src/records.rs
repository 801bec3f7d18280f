//! What the JSON files of a cache say about its other files. `docs/format.md` describes them.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use crate::StoreError;

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

/// The identity that `identity.json` holds.
#[derive(Debug, Deserialize)]
pub(crate) struct Identified {
    pub(crate) identity: leadspan_cache::Identity,
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
