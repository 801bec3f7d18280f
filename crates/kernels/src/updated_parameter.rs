//! What updates on a GPU take: parameters with their moments, and the numbers of an update.

use candle_core::Tensor;

/// A parameter and its moments, all on one device. Updates change them in place.
#[derive(Clone, Debug)]
pub struct UpdatedParameter {
    /// The parameter, in bfloat16.
    pub weight: Tensor,
    /// In single precision.
    pub first_moment: Tensor,
    /// In single precision.
    pub second_moment: Tensor,
    /// Whether it decays.
    pub decays: bool,
}

/// The numbers of one update: m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²; θ ← keep · θ − rate · m / (√v · `root_scale` + ε).
#[derive(Clone, Copy, Debug)]
pub struct UpdateNumbers {
    /// β₁ and β₂.
    pub betas: (f64, f64),
    /// η / (1 − β₁ᵗ).
    pub rate: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub root_scale: f32,
    /// ε.
    pub epsilon: f32,
    /// 1 − η · λ, for the parameters that decay.
    pub keep: f32,
}
