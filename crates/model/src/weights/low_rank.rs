//! What a low-rank adapter adds to a product while it is learnt.

use candle_core::{Result, Tensor};
use leadspan_kernels::{Pass, Weight, linear, linear_of_two, scaled};

/// s · (x · Aᵀ) · Bᵀ.
#[derive(Clone, Debug)]
pub(crate) struct LowRank {
    /// A, `[r, in]`
    pub(crate) narrow: Weight,
    /// B, `[out, r]`
    pub(crate) widen: Weight,
    /// s
    pub(crate) scale: f64,
}

impl LowRank {
    /// `x` `[N, in]` times the transpose of `weight` `[out, in]`, plus `bias`, `residual` and what the adapter adds: `[N, out]`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        (weight, bias): (&Weight, Option<&Weight>),
        residual: Option<&Tensor>,
        pass: Pass<'_>,
    ) -> Result<Tensor> {
        let narrow = scaled(&linear(x, &self.narrow, None, None, pass)?, self.scale, pass)?;
        linear_of_two((x, weight, bias), (&narrow, &self.widen), residual, pass)
    }
}
