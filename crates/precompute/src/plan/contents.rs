//! What a plan says: the counts and predictions, for the program to show.

use std::time::Duration;

use leadspan_cache::Coverage;
use leadspan_corpus::{PrepareReport, SectionTokens};
use leadspan_sequence::LeadSpanProportion;
use serde::Serialize;

use super::{
    calibration::Calibration,
    lengths::Lengths,
    size::Size,
    workers::{Division, LeftOfLayer, divide},
};
use crate::Streaming;

/// The samples that a plan counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Basis {
    /// The prepared corpus in the cache.
    Prepared,
    /// The prepared corpus in the cache and the samples of rows that were appended since.
    Extended {
        /// The number of these samples.
        samples: u64,
    },
    /// The samples of all rows, as preparing will make them.
    Read,
    /// The samples of some rows. All counts are scaled up from them.
    Sampled {
        /// The number of all rows.
        rows: u64,
        /// The number of rows that were drawn.
        drawn: u64,
    },
}

impl Basis {
    /// How many samples of the data one counted sample stands for.
    pub(super) fn scale(self) -> f64 {
        match self {
            Self::Sampled { rows, drawn } => rows as f64 / drawn as f64,
            Self::Prepared | Self::Extended { .. } | Self::Read => 1.0,
        }
    }
}

/// The cost of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// Work units, counted once for each layer: the number of shards.
    pub units: u64,
    /// Stored positions.
    pub positions: u64,
    /// Tokens that go through the teacher.
    pub teacher_tokens: u64,
    /// Operations of the teacher; see [`ForwardFlops`](leadspan_model::ForwardFlops). 0 if its architecture is not known.
    pub teacher_flops: f64,
    /// Bytes of the shards.
    pub shard_bytes: u64,
    /// Time on this device without loading the teacher; `None` without a calibration.
    pub seconds: Option<f64>,
}

/// The cost of a whole capture at one proportion, from an empty cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtProportion {
    /// The proportion of training samples; validation samples are whole.
    pub proportion: LeadSpanProportion,
    /// Tokens in the lead spans, by section, supervised or not.
    pub tokens: SectionTokens,
    /// The cost.
    #[serde(flatten)]
    pub totals: Totals,
}

/// What is left to capture of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerPlan {
    /// The name of its folder.
    pub layer: String,
    /// The predicted size of its training shards.
    pub size: Size,
    /// The cost of what is left.
    #[serde(flatten)]
    pub totals: Totals,
}

/// How the weights of the teacher are streamed in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StreamedPasses {
    /// The sizes that decide it.
    #[serde(flatten)]
    pub streaming: Streaming,
    /// Passes through all weights.
    pub passes: u64,
    /// Tokens of the largest pass.
    pub largest_pass_tokens: u64,
    /// Predicted memory of that pass: weights, hidden states, activations and logits.
    pub expected_bytes: u64,
}

/// The predicted cost of a capture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What the cache holds after the capture.
    pub asked: Coverage,
    /// The samples that are counted.
    pub basis: Basis,
    /// What became of the rows, scaled up like all counts.
    pub report: PrepareReport,
    /// How long the samples are.
    pub lengths: Lengths,
    /// Work units of the corpus.
    pub units: u64,
    /// What is left to capture, layer by layer; empty if the cache has everything.
    pub layers: Vec<LayerPlan>,
    /// The sums over these layers.
    pub left: Totals,
    /// Bytes of the part of the prepared corpus that is not stored yet.
    pub corpus_bytes: u64,
    /// How the weights are streamed in what is left; `None` if they are in memory, or a server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<StreamedPasses>,
    /// Predicted memory of a teacher on the CPU whose weights are all in memory; `None` if they are streamed, elsewhere, or unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// A whole capture at each tenth and at the asked proportion, for comparison.
    pub proportions: Vec<AtProportion>,
    /// How fast the teacher is on this device.
    pub calibration: Option<Calibration>,
    /// What is left, unit by unit.
    #[serde(skip)]
    pub(super) left_of_layers: Vec<LeftOfLayer>,
}

impl Plan {
    /// Bytes that the capture will write.
    pub fn bytes(&self) -> u64 {
        self.left.shard_bytes + self.corpus_bytes
    }

    /// How many workers finish within `wall_time`; `None` without a calibration.
    pub fn divide(&self, wall_time: Duration) -> Option<Division> {
        let load_seconds = self.calibration.as_ref()?.load_seconds;
        Some(divide(&self.left_of_layers, load_seconds, wall_time.as_secs_f64()))
    }
}
