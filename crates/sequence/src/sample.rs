//! One training sequence and the split it belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SectionBounds;

/// Whether a sample is for training or held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// For training, at any lead-span proportion.
    Train,
    /// Held out, always whole, so that held-out losses are comparable across proportions.
    Validation,
}

impl Split {
    /// The name used in columns, file names and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One training sequence: prompt, chain of thought, answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The row's own id, or `FILE:LINE`.
    pub id: String,
    /// For training or held out.
    pub split: Split,
    /// Token ids of the whole templated sequence.
    pub tokens: Vec<u32>,
    /// Where its sections begin and end; `bounds.tokens()` is `tokens.len()`.
    pub bounds: SectionBounds,
}
