//! A root-mean-square normalisation with its weight.

use candle_core::{Result, Tensor};
use leadspan_kernels::{Pass, Weight, rms_norm, rms_norm_around_one};

use crate::{config::DecoderConfig, error::ModelError, weights::weight_source::WeightSource};

/// Root-mean-square normalisation over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    /// `[width]`
    pub(crate) weight: Weight,
    /// Added to the mean square before its root is taken.
    pub(crate) eps: f64,
    /// Whether normalised rows are multiplied by 1 + weight.
    pub(crate) around_one: bool,
}

impl RmsNorm {
    /// The normalisation after the last layer.
    ///
    /// # Errors
    ///
    /// If its weight is missing or has another shape than the configuration says.
    pub(super) fn last(
        config: &DecoderConfig,
        weights: &mut dyn WeightSource,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            weight: weights.weight("model.norm.weight", &[config.hidden_size])?,
            eps: config.rms_norm_eps,
            around_one: config.family.description().norms_around_one,
        })
    }

    /// Normalises `x` `[.., width]`.
    pub(crate) fn forward<'a>(&self, x: &Tensor, pass: impl Into<Pass<'a>>) -> Result<Tensor> {
        if self.around_one {
            rms_norm_around_one(x, &self.weight, self.eps, pass)
        } else {
            rms_norm(x, &self.weight, self.eps, pass)
        }
    }
}
