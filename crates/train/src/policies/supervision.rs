//! Which positions of a sample are learnt, and how much each weighs.

use super::{position_weights::PositionWeights, positions::Positions};

/// The policies that apply to a sample once its lead span is known. By default all positions are learnt and weigh the same.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Supervision {
    pub(crate) positions: Positions,
    pub(crate) weights: PositionWeights,
}
