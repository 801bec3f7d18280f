//! What becomes of rows that cannot be read, and how large a row may be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to do with a row that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadRow {
    /// Stop with the file and row.
    #[default]
    Stop,
    /// Leave the row out and count it.
    Skip,
}

/// The bytes that a value inside a list or an object of a row counts for at least: it takes more memory than it is stored in.
pub(crate) const VALUE_BYTES: u64 = 16;

/// How many bytes a row may have, and what becomes of a row that has more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLimit {
    /// The most bytes of a line, an element of an array, or a row of a table, once it is decompressed.
    pub(crate) most_bytes: u64,
    /// Whether a longer row is an error.
    pub(crate) on_bad_row: BadRow,
}

#[cfg(test)]
impl Default for RowLimit {
    fn default() -> Self {
        Self {
            most_bytes: 64 << 20,
            on_bad_row: BadRow::Stop,
        }
    }
}
