//! A block of linear attention (Qwen3.5): projections, a short convolution, the gated delta rule, a gated normalisation of each
//! head, projection back. It computes no gradients.

use candle_core::{DType, Result, Tensor};
use leadspan_kernels::{DeltaShape, Pass, gated_delta_rule, short_convolution, swiglu};

use super::{closing::Closing, norm::RmsNorm};
use crate::{
    config::{DecoderConfig, parts::LinearAttention},
    error::ModelError,
    weights::{projection::Projection, weight_source::WeightSource},
};

/// One block of linear attention.
#[derive(Clone, Debug)]
pub(crate) struct DeltaNet {
    /// To queries, keys and values.
    mixed: Projection,
    /// To the gate of the normalisation.
    gate: Projection,
    /// To the logit of each head's rate.
    rates: Projection,
    /// To each head's decay, before its bias and factor.
    decays: Projection,
    /// `[columns, taps]`
    taps: Tensor,
    /// `[value heads]`, in single precision.
    decay_bias: Tensor,
    /// `[value heads]`, in single precision: negative numbers.
    decay_factor: Tensor,
    norm: RmsNorm,
    output: Closing,
    shape: DeltaShape,
}

impl DeltaNet {
    /// The block of a layer; the names of its weights begin with `name`.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the configuration says.
    pub(crate) fn build(
        config: &DecoderConfig,
        linear: &LinearAttention,
        weights: &mut dyn WeightSource,
        name: &str,
    ) -> std::result::Result<Self, ModelError> {
        let shape = DeltaShape {
            key_heads: linear.key_heads,
            value_heads: linear.value_heads,
            key_dim: linear.key_dim,
            value_dim: linear.value_dim,
        };
        let hidden = config.hidden_size;
        let mut product = |part: &str, out: usize, width: usize| {
            weights.product(&format!("{name}.{part}.weight"), [out, width], None)
        };
        let mixed = product("in_proj_qkv", shape.width(), hidden)?;
        let gate = product("in_proj_z", shape.value_width(), hidden)?;
        let rates = product("in_proj_b", shape.value_heads, hidden)?;
        let decays = product("in_proj_a", shape.value_heads, hidden)?;
        let output = Closing::plain(product("out_proj", hidden, shape.value_width())?);
        let norm = RmsNorm {
            weight: weights.weight(&format!("{name}.norm.weight"), &[shape.value_dim])?,
            eps: config.rms_norm_eps,
            around_one: false,
        };
        let taps = weights.tensor(&format!("{name}.conv1d.weight"), &[shape.width(), 1, linear.taps])?;
        let mut of_heads = |part: &str| -> std::result::Result<Tensor, ModelError> {
            let values = weights.tensor(&format!("{name}.{part}"), &[shape.value_heads])?;
            Ok(values.to_dtype(DType::F32)?)
        };
        Ok(Self {
            mixed,
            gate,
            rates,
            decays,
            taps: taps.squeeze(1)?,
            decay_bias: of_heads("dt_bias")?,
            decay_factor: of_heads("A_log")?.exp()?.neg()?,
            norm,
            output,
            shape,
        })
    }

    /// `residual` plus the block's output for `x`, both `[N, H]`. Sequence b has the rows `edges[b]..edges[b + 1]`.
    pub(crate) fn forward(&self, x: &Tensor, residual: &Tensor, edges: &[usize], pass: Pass<'_>) -> Result<Tensor> {
        let mixed = short_convolution(&self.mixed.forward(x, None, pass)?, &self.taps, edges)?;
        let rates = sigmoid(&self.rates.forward(x, None, pass)?)?;
        let steps = self.decays.forward(x, None, pass)?.to_dtype(DType::F32)?;
        let steps = softplus(&steps.broadcast_add(&self.decay_bias)?)?;
        let decays = steps.broadcast_mul(&self.decay_factor)?;
        let mixed = gated_delta_rule(&mixed, &decays, &rates, self.shape, edges)?;
        let (rows, width) = mixed.dims2()?;
        let heads = (rows * self.shape.value_heads, self.shape.value_dim);
        let normalised = self.norm.forward(&mixed.reshape(heads)?, pass)?;
        let gate = self.gate.forward(x, None, pass)?.reshape(heads)?;
        let gated = swiglu(&gate, &normalised, pass)?.reshape((rows, width))?;
        self.output.forward(&gated, Some(residual), pass)
    }
}

/// 1 / (1 + exp(−x)), in single precision.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.to_dtype(DType::F32)?.neg()?.exp()? + 1.0)?.recip()
}

/// ln(1 + exp(x)), without overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
