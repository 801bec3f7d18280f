//! Bounds of what a configuration may say.

/// The largest width, count or context that is accepted.
pub(super) const LARGEST: usize = 1 << 28;
