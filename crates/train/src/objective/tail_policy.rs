//! `train.tail_policy`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of the probability outside the stored entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TailPolicy {
    /// All the rest is one outcome on both sides.
    #[default]
    Bucket,
    /// It is forgotten: the teacher is its entries, scaled to sum to one. Forward KL only.
    RenormalizeTeacher,
    /// Both sides are conditioned on the entries.
    RenormalizeBoth,
    /// Tokens drawn from it stand for it. Forward KL at temperature 1 only, from a cache with `cache.tail_samples`.
    Sampled,
}

impl TailPolicy {
    /// All there are.
    pub const ALL: [Self; 4] = [
        Self::Bucket,
        Self::RenormalizeTeacher,
        Self::RenormalizeBoth,
        Self::Sampled,
    ];
}

/// As it is written in a pipeline file.
impl fmt::Display for TailPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bucket => "bucket",
            Self::RenormalizeTeacher => "renormalize_teacher",
            Self::RenormalizeBoth => "renormalize_both",
            Self::Sampled => "sampled",
        })
    }
}
