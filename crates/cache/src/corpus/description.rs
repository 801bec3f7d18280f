//! The descriptions that make files parts of the prepared corpus, and the names of these files.
//!
//! The first part is `corpus/samples.arrow`, `corpus/tokens.u32` and, committed after them, `corpus/prepared.json`; the
//! next is `samples-001.arrow`, `tokens-001.u32` and `prepared-001.json`, and so on. Files without their description are
//! no part. Each description but the first also carries the blake3 of the one before it: the parts are a chain, and one
//! that is missing in the middle or belongs to another chain is an error.
//!
//! Parts of format 2 are one Parquet table, `samples.parquet`. They are read into memory; nothing writes them any more.

use std::{fs, io, num::NonZeroU32, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CacheError, hashing::Region, json};

/// The version of a part of the corpus that this program writes.
pub(super) const FORMAT: u32 = 3;

/// The version of parts that are one Parquet table.
const TABLE_FORMAT: u32 = 2;

/// What the description of a part holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) format: u32,
    /// blake3 of the description before it; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
    pub(super) table: Region,
    /// The file of tokens; absent in format 2, whose table has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<Region>,
    pub(super) samples: u64,
    pub(super) samples_per_shard: NonZeroU32,
    pub(super) facts: Value,
}

/// The name of one of a part's files.
fn file_name(stem: &str, part: usize, extension: &str) -> String {
    match part {
        0 => format!("{stem}.{extension}"),
        _ => format!("{stem}-{part:03}.{extension}"),
    }
}

/// The name of a part's table.
pub(super) fn table_name(part: usize) -> String {
    file_name("samples", part, "arrow")
}

/// The name of a part's file of tokens.
pub(super) fn tokens_name(part: usize) -> String {
    file_name("tokens", part, "u32")
}

/// The name of a part's table in format 2.
pub(super) fn old_table_name(part: usize) -> String {
    file_name("samples", part, "parquet")
}

/// The name of a part's description.
pub(super) fn description_name(part: usize) -> String {
    file_name("prepared", part, "json")
}

/// Which part a file of the folder describes.
pub(super) fn described_part(name: &str) -> Option<usize> {
    let part = match name.strip_prefix("prepared-") {
        None => 0,
        Some(rest) => rest.strip_suffix(".json")?.parse().ok()?,
    };
    (description_name(part) == name).then_some(part)
}

/// How many parts `folder` has by the number of the last description in it.
pub(crate) fn count_parts(folder: &Path) -> Result<usize, CacheError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(CacheError::io("list", folder)(error)),
    };
    let mut parts = 0;
    for entry in entries {
        let name = entry.map_err(CacheError::io("list", folder))?.file_name();
        if let Some(part) = name.to_str().and_then(described_part) {
            parts = parts.max(part + 1);
        }
    }
    Ok(parts)
}

/// What a description says, whose format and contents fit each other.
pub(super) fn description(bytes: &[u8], path: &Path) -> Result<Prepared, CacheError> {
    let prepared: Prepared = json::from_bytes_of(bytes, path, &[TABLE_FORMAT, FORMAT])?;
    if (prepared.format == TABLE_FORMAT) == prepared.tokens.is_some() {
        let problem = format!("a part of format {} has other files than it names", prepared.format);
        return Err(CacheError::Inconsistent {
            path: path.to_owned(),
            problem,
        });
    }
    Ok(prepared)
}
