//! The decoder: embedding, layers of attention and feed-forward, final normalisation, head.

mod attention;
mod closing;
mod comparison;
mod delta_net;
mod feed_forward;
mod gated_block;
mod layer;
pub(crate) mod min_rows;
mod mixture;
mod norm;
mod rotary;
pub(crate) mod sizes;
pub(crate) mod streamed;
pub(crate) mod trace;
mod weight_names;

use std::sync::Arc;

use candle_core::{Device, Tensor, quantized::QMatMul};
use leadspan_kernels::{GradientSum, Kernels, Packed, Pass, Weight, scaled};

pub use self::comparison::Distrust;
use self::{layer::DecoderLayer, min_rows::MIN_ROWS, norm::RmsNorm, rotary::RotaryTables, weight_names::weight_names};
use crate::{
    config::DecoderConfig,
    device::{StoredDtype, StudentDtype},
    error::ModelError,
    stop::Stop,
    weights::{
        lora::{directory::Lora, modules::AdaptedModules, settings::LoraSettings},
        parameters::{Parameters, StudentStart},
        projection::Projection,
        source::ModelSource,
        weight_source::{Embedding, WeightSource},
    },
};

/// A decoder-only transformer of one of the [families](crate::Family).
///
/// Teacher and student run the same forward pass. The teacher's builds no graph; the student's passes are
/// [traced](crate::Trace).
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    head: Projection,
    rotary: RotaryTables,
    kernels: Kernels,
    distrust: Option<Distrust>,
    /// Whether it has low-rank adapters, for which GPUs have no kernels.
    is_adapted: bool,
    device: Device,
}

impl Decoder {
    /// Loads a model for inference.
    ///
    /// # Errors
    ///
    /// If the weights cannot be read, do not fit the configuration, or do not fit in memory.
    pub fn load(source: &ModelSource, dtype: StoredDtype, device: &Device) -> Result<Self, ModelError> {
        Self::load_with(source, dtype, device, Kernels::Fused)
    }

    /// Loads a model for inference, with these kernels if they can be [trusted](Self::distrust).
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(
        source: &ModelSource,
        dtype: StoredDtype,
        device: &Device,
        kernels: Kernels,
    ) -> Result<Self, ModelError> {
        let mut weights = source.weights(weight_names, dtype, device)?;
        let decoder = Self::build(source.config().clone(), weights.as_mut(), device)?;
        Ok(decoder.with_trusted_kernels(kernels))
    }

    /// Makes a decoder whose parameters are all variables, in single precision.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and if chosen layers do not exist or the architecture cannot be trained (a mixture of
    /// experts).
    pub fn trainable(start: &StudentStart, device: &Device) -> Result<(Self, Parameters), ModelError> {
        Self::trainable_in(StudentDtype::F32, start, device)
    }

    /// Makes a decoder whose parameters are all variables of the given dtype. Activations have the same dtype. Gradients
    /// are summed in single precision.
    ///
    /// # Errors
    ///
    /// As [`trainable`](Self::trainable).
    pub fn trainable_in(
        dtype: StudentDtype,
        start: &StudentStart,
        device: &Device,
    ) -> Result<(Self, Parameters), ModelError> {
        let dtype = StoredDtype::from(dtype);
        let (config, mut variables) = start.open(weight_names, dtype, device)?;
        let decoder = Self::build(config, &mut variables, device)?;
        Ok((decoder, variables.into_parameters()))
    }

    /// Makes a decoder whose weights are constant and which learns low-rank adapters, with initial values of the given seed. All
    /// are of the given dtype.
    ///
    /// # Errors
    ///
    /// As [`trainable`](Self::trainable), and [`ModelError::Lora`] if the settings do not fit the architecture.
    pub fn adapted(
        dtype: StudentDtype,
        start: &StudentStart,
        (settings, seed): (&LoraSettings, u64),
        device: &Device,
    ) -> Result<(Self, Parameters), ModelError> {
        let (config, mut variables) = start.open(weight_names, dtype.into(), device)?;
        settings.check(config.hidden_size)?;
        variables.adapt(Lora {
            settings: settings.clone(),
            modules: AdaptedModules::of(settings, &config)?,
            seed,
        });
        let decoder = Self::build(config, &mut variables, device)?;
        Ok((decoder, variables.into_parameters()))
    }

    /// A view of a student that shares its parameters but builds no graph, for validation and generation.
    ///
    /// # Errors
    ///
    /// If the parameters do not fit the configuration.
    pub fn frozen(config: &DecoderConfig, parameters: &Parameters, device: &Device) -> Result<Self, ModelError> {
        let mut weights = parameters;
        Self::build(config.clone(), &mut weights, device)
    }

    fn build(config: DecoderConfig, weights: &mut dyn WeightSource, device: &Device) -> Result<Self, ModelError> {
        let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
        let embedding = weights.embedding(EMBEDDING, [vocabulary, hidden])?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| DecoderLayer::build(&config, weights, index))
            .collect::<Result<_, _>>()?;
        let norm = RmsNorm::last(&config, weights)?;
        let head = match (&embedding, config.tie_word_embeddings) {
            (Embedding::Dense(weight), true) => Projection::Dense {
                weight: weight.clone(),
                bias: None,
            },
            (Embedding::Quantised(weight), true) => Projection::Quantised {
                weight: QMatMul::from_arc(Arc::clone(weight))?,
                bias: None,
            },
            (_, false) => weights.product(HEAD, [vocabulary, hidden], None)?,
        };
        let rotary = RotaryTables::new(&config, weights.pairing(), device)?;
        let decoder = Self {
            config,
            embedding,
            layers,
            norm,
            head,
            rotary,
            kernels: Kernels::Stock,
            distrust: None,
            is_adapted: weights.adapts(),
            device: device.clone(),
        };
        Ok(decoder.with_kernels(Kernels::default()))
    }

    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Why stock operations are used though others were asked for; `None` if they are not.
    pub fn distrust(&self) -> Option<&Distrust> {
        self.distrust.as_ref()
    }

    /// The same decoder with stock operations, because of `distrust`.
    #[must_use]
    pub fn distrusting(mut self, distrust: Distrust) -> Self {
        self.kernels = Kernels::Stock;
        self.distrust = Some(distrust);
        self
    }

    /// The same decoder with `kernels` for its operations. A GPU has none for a decoder that is not plain, such as one with a
    /// window or with adapters: it then computes with stock operations, and [`distrust`](Self::distrust) says so.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        let lacking = if !self.config.is_plain() {
            Some(Distrust::NotPlain)
        } else if self.is_adapted {
            Some(Distrust::Adapted)
        } else {
            None
        };
        let lacking = lacking.filter(|_| kernels == Kernels::Fused && !self.device.is_cpu());
        self.kernels = if lacking.is_some() { Kernels::Stock } else { kernels };
        if lacking.is_some() || matches!(self.distrust, Some(Distrust::NotPlain | Distrust::Adapted)) {
            self.distrust = lacking;
        }
        self
    }

    /// The final hidden states of whole sequences, after the last normalisation, divided by the divisor of the logits if the
    /// model has one.
    ///
    /// Attention is causal and stays within a sequence, so neither later tokens nor other sequences change a token's
    /// result.
    ///
    /// # Shapes
    ///
    /// The result is `[N, H]`, a row for each token.
    ///
    /// # Errors
    ///
    /// If a sequence is longer than the model's context, a token is outside its vocabulary, or the device fails.
    /// [`ModelError::Stopped`] if `stop` is requested before the last layer.
    pub fn hidden_states(&self, packed: &Packed, stop: Stop<'_>) -> Result<Tensor, ModelError> {
        let count = packed.tokens().len();
        if let Some(filled) = packed.filled_up_to(MIN_ROWS) {
            return Ok(self.hidden_states(&filled, stop)?.narrow(0, 0, count)?);
        }
        let mut hidden = self.embed(packed)?;
        for layer in &self.layers {
            stop.check()?;
            hidden = layer.forward(&hidden, packed, &self.rotary, self.kernels)?;
        }
        Ok(self.finish(&hidden, self.kernels)?)
    }

    /// The final hidden states from those after the last layer: normalised, and divided by the divisor of the logits, so that
    /// the head needs no other product.
    pub(crate) fn finish<'a>(&self, hidden: &Tensor, pass: impl Into<Pass<'a>>) -> candle_core::Result<Tensor> {
        finish(&self.norm, &self.config, hidden, pass.into())
    }

    /// The embeddings of the tokens, `[N, H]`, untracked.
    pub(crate) fn embed(&self, packed: &Packed) -> Result<Tensor, ModelError> {
        check_length(packed, &self.config)?;
        self.embed_tokens(packed.tokens())
    }

    /// The embeddings of `tokens`, `[N, H]`, untracked.
    pub(crate) fn embed_tokens(&self, tokens: &[u32]) -> Result<Tensor, ModelError> {
        let tokens = Tensor::from_slice(tokens, tokens.len(), &self.device)?;
        let rows = match &self.embedding {
            Embedding::Dense(weight) => weight.constant().embedding(&tokens)?,
            Embedding::Quantised(weight) => weight.embedding(&tokens)?,
        };
        Ok(self.scale_embeddings(rows)?)
    }

    /// Embeddings, or their gradients, times the multiplier of the embeddings.
    pub(crate) fn scale_embeddings(&self, rows: Tensor) -> candle_core::Result<Tensor> {
        scale_embeddings(&self.config, rows)
    }

    /// The logits of chosen hidden states, in single precision. The caller bounds N.
    ///
    /// # Shapes
    ///
    /// `rows` is `[N, H]`; the result is `[N, V]`.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn logits(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.head.scores(rows, self.kernels)?)
    }

    /// The weight `[V, H]` of the head, untracked; `None` if it is quantised. A tied head is the embedding.
    pub fn head_weight(&self) -> Option<Tensor> {
        match &self.head {
            Projection::Dense { weight, .. } => Some(weight.constant()),
            // The head gets no adapter.
            Projection::Adapted { .. } | Projection::Quantised { .. } => None,
        }
    }

    /// The gradient sum of the head's weight; `None` if the weight is constant.
    pub fn head_gradient(&self) -> Option<&GradientSum> {
        self.head.weights().next().and_then(Weight::gradient)
    }

    /// The gradient sum of the embedding; `None` if the embedding is constant.
    pub(crate) fn embedding_gradient(&self) -> Option<&GradientSum> {
        match &self.embedding {
            Embedding::Dense(weight) => weight.gradient(),
            Embedding::Quantised(_) => None,
        }
    }

    pub(crate) fn layers(&self) -> &[DecoderLayer] {
        &self.layers
    }

    pub(crate) fn head(&self) -> &Projection {
        &self.head
    }

    pub(crate) fn norm(&self) -> &RmsNorm {
        &self.norm
    }

    pub(crate) fn rotary(&self) -> &RotaryTables {
        &self.rotary
    }

    /// The form of its operations.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }
}

/// The names of the embedding and of a head of its own.
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// See [`Decoder::finish`].
fn finish(norm: &RmsNorm, config: &DecoderConfig, hidden: &Tensor, pass: Pass<'_>) -> candle_core::Result<Tensor> {
    let divisor = config.parts.logit_divisor;
    let normalised = norm.forward(hidden, pass)?;
    if divisor == 1.0 {
        return Ok(normalised);
    }
    scaled(&normalised, 1.0 / divisor, pass)
}

/// Refuses a sequence that is longer than the model's context.
fn check_length(packed: &Packed, config: &DecoderConfig) -> Result<(), ModelError> {
    let (tokens, context) = (packed.longest(), config.context());
    if tokens > context {
        return Err(ModelError::Context { tokens, context });
    }
    Ok(())
}

/// See [`Decoder::scale_embeddings`].
fn scale_embeddings(config: &DecoderConfig, rows: Tensor) -> candle_core::Result<Tensor> {
    let scale = config.parts.embedding_scale;
    if scale == 1.0 { Ok(rows) } else { rows * scale }
}
