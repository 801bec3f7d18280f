//! Bounds of what a configuration may say.

/// The largest width, count or context that is accepted.
pub(super) const LARGEST: usize = 1 << 28;

/// The most layers of a model whose layers differ.
pub(super) const MOST_LAYERS: usize = 1 << 16;
