//! What a selection finds.

/// What was found of rows of logits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// How many tokens there are of each row.
    pub k: usize,
    /// The tokens with the largest logits of each row, largest first, ties to the lower id: `[N, k]`.
    pub token_ids: Vec<u32>,
    /// Their logits: `[N, k]`.
    pub logits: Vec<f32>,
    /// How many sums there are of each row: at least one more than temperatures. Those beyond have no meaning.
    pub sums: usize,
    /// log Σ exp(z/τ) over all other tokens, at temperature 1 and then at each further temperature; −∞ if there are no
    /// others: `[N, sums]`.
    pub others: Vec<f64>,
    /// The logit of each row's target: `[N]`.
    pub target_logits: Vec<f32>,
    /// The first row with a logit that is not finite, and its first such token. Nothing else of that row has a meaning.
    pub not_finite: Option<(usize, u32)>,
}
