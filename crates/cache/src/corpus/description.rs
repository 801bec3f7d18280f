//! The names and the descriptions of the parts of a prepared corpus.
//!
//! The first part consists of `samples.arrow`, `tokens.u32` and its description `prepared.json`, which is committed
//! last. The files of the next part are `samples-001.arrow`, `tokens-001.u32` and `prepared-001.json`, and so on. Data
//! files without a description are not a part. Each description except the first contains the blake3 of the one before
//! it, so a part that is missing or comes from another corpus is found.
//!
//! A part of format 2 has one Parquet table, `samples.parquet`, instead of the two data files.

use std::{fs, io, num::NonZeroU32, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CacheError, hashing::Region, json};

/// The format of the parts that this program writes.
pub(super) const FORMAT: u32 = 3;

/// The format of parts that are one Parquet table.
const TABLE_FORMAT: u32 = 2;

/// The contents of a description.
#[derive(Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) format: u32,
    /// blake3 of the previous description; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
    pub(super) table: Region,
    /// The file of tokens; absent in format 2, whose table contains the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<Region>,
    pub(super) samples: u64,
    pub(super) samples_per_shard: NonZeroU32,
    /// How the part was prepared, as the caller stated it.
    #[serde(rename = "facts")]
    pub(super) provenance: Value,
}

/// The name of a file of a part, such as `samples-001.arrow`.
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

/// The number of the part that a file describes; `None` if it is not a description.
pub(super) fn described_part(name: &str) -> Option<usize> {
    let part = match name.strip_prefix("prepared-") {
        None => 0,
        Some(rest) => rest.strip_suffix(".json")?.parse().ok()?,
    };
    (description_name(part) == name).then_some(part)
}

/// The number of parts in `folder`, by the highest number of a description.
///
/// # Errors
///
/// [`CacheError::Io`] if the folder cannot be listed.
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

/// Parses a description and checks that its keys fit its format.
pub(super) fn parse_description(bytes: &[u8], path: &Path) -> Result<Description, CacheError> {
    let description: Description = json::from_bytes_of(bytes, path, &[TABLE_FORMAT, FORMAT])?;
    if (description.format == TABLE_FORMAT) == description.tokens.is_some() {
        let problem = format!("a part of format {} has other files than it states", description.format);
        return Err(CacheError::Inconsistent {
            path: path.to_owned(),
            problem,
        });
    }
    Ok(description)
}
