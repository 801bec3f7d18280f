//! The shape of a mixture of experts.

use serde::{Deserialize, Serialize};

use super::limits::LARGEST;

/// The mixture of experts that takes the place of the feed-forward block in some layers (Qwen3-MoE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experts {
    /// How many experts a layer has.
    pub count: usize,
    /// How many of them process a token.
    pub per_token: usize,
    /// Width inside one expert.
    pub intermediate_size: usize,
    /// Whether the weights of a token's experts are scaled to sum to one (`norm_topk_prob`).
    pub normalize: bool,
    /// The layers that have experts, ascending. The others are dense, `DecoderConfig::intermediate_size` wide.
    pub layers: Vec<usize>,
}

impl Experts {
    /// The key, value and rule of the first number that is out of range.
    pub(super) fn problem(&self) -> Option<(&'static str, usize, &'static str)> {
        if !(1..=1 << 16).contains(&self.count) {
            let expected = "it must be a positive number of a sensible size";
            return Some(("num_experts", self.count, expected));
        }
        if !(1..=self.count).contains(&self.per_token) {
            let expected = "it must be from 1 to the number of experts";
            return Some(("num_experts_per_tok", self.per_token, expected));
        }
        let expected = "it must be a positive number of a sensible size";
        (!(1..=LARGEST).contains(&self.intermediate_size)).then_some((
            "moe_intermediate_size",
            self.intermediate_size,
            expected,
        ))
    }
}
