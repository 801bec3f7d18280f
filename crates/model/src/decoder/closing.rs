//! The end of a block: its last product, what happens to the result, and its sum with the residual stream.

use candle_core::{Result, Tensor};
use leadspan_kernels::{Pass, Weight, add_scaled, scaled};

use super::norm::RmsNorm;
use crate::weights::projection::Projection;

/// The last product of a block, normalised in some families (OLMo 2, Gemma 3) and scaled in others (Granite).
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) product: Projection,
    pub(crate) norm: Option<RmsNorm>,
    pub(crate) scale: f64,
}

impl Closing {
    /// A product alone.
    pub(crate) fn plain(product: Projection) -> Self {
        Self {
            product,
            norm: None,
            scale: 1.0,
        }
    }

    /// The block's output for `x`, plus `residual` if one is given.
    pub(crate) fn forward(&self, x: &Tensor, residual: Option<&Tensor>, pass: Pass<'_>) -> Result<Tensor> {
        if self.norm.is_none() && self.scale == 1.0 {
            return self.product.forward(x, residual, pass);
        }
        let output = self.product.forward(x, None, pass)?;
        let output = match &self.norm {
            Some(norm) => norm.forward(&output, pass)?,
            None => output,
        };
        match residual {
            Some(residual) => add_scaled(residual, &output, self.scale, pass),
            None => scaled(&output, self.scale, pass),
        }
    }

    /// The dense parameters.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        self.product.weights().chain(self.norm.iter().map(|norm| &norm.weight))
    }
}
