//! The heads of an attention block, and what they see.

/// The numbers and the width of the heads of an attention block, and which tokens a token attends to.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// The number of query heads, a multiple of the key-value heads.
    pub heads: usize,
    /// The number of heads of keys and values. Each is shared by the same number of query heads.
    pub key_value_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
    /// The most tokens that a token attends to: itself and those just before it. `None` if it attends to all earlier ones.
    pub window: Option<usize>,
    /// The factor of the scores; `None` stands for 1 / √D.
    pub score_scale: Option<f32>,
}

impl AttentionShape {
    /// Heads that attend to all earlier tokens, with scores scaled by 1 / √D.
    pub const fn new(heads: usize, key_value_heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            key_value_heads,
            head_dim,
            window: None,
            score_scale: None,
        }
    }

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

    /// The factor of the scores.
    pub(crate) fn scale(&self) -> f32 {
        self.score_scale.unwrap_or_else(|| (self.head_dim as f32).powf(-0.5))
    }

    /// The first position that the token at `position` attends to.
    pub(crate) fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}
