//! What a file claims and cannot be read for.

use std::{error::Error, fmt};

use parquet::errors::ParquetError;

/// A claim of a file that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The file cannot meet the claim that this text names: it is damaged.
    Untrue(String),
    /// The schema has more levels than are read. The claim may be true.
    ManyLevels {
        /// The most levels.
        most: usize,
    },
    /// A page would have more bytes, once it is decompressed, than room is made for. The claim may be true.
    LargePage {
        /// The column and the row group.
        place: String,
        /// The bytes that it would have.
        bytes: u64,
        /// The most bytes that a page of this file may have.
        most_bytes: u64,
    },
}

impl Claim {
    /// The claim that may be true and is behind an error, if one is.
    pub fn behind(error: &ParquetError) -> Option<&Self> {
        match error {
            ParquetError::External(source) => source.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrue(text) => formatter.write_str(text),
            Self::ManyLevels { most } => write!(formatter, "the schema has more than {most} levels"),
            Self::LargePage {
                place,
                bytes,
                most_bytes,
            } => write!(
                formatter,
                "a page of {place} claims {bytes} bytes, and at most {most_bytes} are read of a file of this size"
            ),
        }
    }
}

impl Error for Claim {}

impl From<Claim> for ParquetError {
    fn from(claim: Claim) -> Self {
        match claim {
            Claim::Untrue(text) => Self::General(text),
            claim => Self::External(Box::new(claim)),
        }
    }
}
