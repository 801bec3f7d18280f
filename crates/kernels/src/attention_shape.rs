//! The heads of an attention block.

/// The numbers and the width of the heads of an attention block.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// The number of query heads, a multiple of the key-value heads.
    pub heads: usize,
    /// The number of heads of keys and values. Each is shared by the same number of query heads.
    pub key_value_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// The number of query heads that share a key-value head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.key_value_heads
    }

    /// The width of a row of queries.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The width of a row of keys or values.
    pub(crate) fn key_width(&self) -> usize {
        self.key_value_heads * self.head_dim
    }

    /// The factor of the scores, 1 / √D.
    pub(crate) fn scale(&self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }
}
