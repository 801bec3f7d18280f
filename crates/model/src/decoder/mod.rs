//! The decoder: embedding, layers of attention and feed-forward, final normalisation, head.

pub(crate) mod attention;
pub(crate) mod feed_forward;
pub(crate) mod gated_block;
pub(crate) mod min_rows;
pub(crate) mod mixture;
pub(crate) mod norm;
pub(crate) mod rotary;
pub(crate) mod trace;

use candle_core::{Device, Tensor};
use std::sync::Arc;

use crate::{
    GradientSum, ModelError, ModelSource, Packed, Parameters, StoredDtype, StudentDtype, StudentStart,
    config::DecoderConfig,
    decoder::attention::Attention,
    decoder::feed_forward::FeedForward,
    decoder::min_rows::MIN_ROWS,
    decoder::norm::RmsNorm,
    decoder::rotary::rotary_table,
    kernels::{AttentionShape, Kernels, Pass, RotaryTable, Weight, attention},
    stop::Stop,
    weights::projection::Projection,
    weights::weight_source::{Embedding, WeightSource},
};

/// A decoder-only transformer of the Llama, Qwen2, Qwen3 or Qwen3-MoE family.
///
/// The same forward serves the teacher, which builds no graph, and the student, whose passes are [traced](crate::Trace).
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Projection,
    rotary: RotaryTable,
    kernels: Kernels,
    device: Device,
}

#[derive(Clone, Debug)]
pub(crate) struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

impl Decoder {
    /// Loads a model for inference.
    ///
    /// # Errors
    ///
    /// Where the weights cannot be read, do not fit the configuration, or do not fit in memory.
    pub fn load(source: &ModelSource, dtype: StoredDtype, device: &Device) -> Result<Self, ModelError> {
        let mut weights = source.weights(dtype, device)?;
        Self::build(source.config().clone(), weights.as_mut(), dtype, device)
    }

    /// Makes a decoder whose every parameter is a variable, in single precision.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and where chosen layers do not exist or the architecture only runs (a mixture of experts).
    pub fn trainable(start: &StudentStart, device: &Device) -> Result<(Self, Parameters), ModelError> {
        Self::trainable_in(StudentDtype::F32, start, device)
    }

    /// Makes a decoder whose every parameter is a variable of the given dtype, which activations have too. Gradients are
    /// added up in single precision whatever it is.
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
        let (config, mut variables) = start.open(dtype, device)?;
        let decoder = Self::build(config, &mut variables, dtype, device)?;
        Ok((decoder, variables.into_parameters()))
    }

    /// A view of a student that shares its parameters but builds no graph, for validation and generation.
    ///
    /// # Errors
    ///
    /// Where the parameters do not fit the configuration.
    pub fn frozen(config: &DecoderConfig, parameters: &Parameters, device: &Device) -> Result<Self, ModelError> {
        let mut weights = parameters;
        Self::build(config.clone(), &mut weights, parameters.dtype(), device)
    }

    fn build(
        config: DecoderConfig,
        weights: &mut dyn WeightSource,
        dtype: StoredDtype,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
        let embedding = weights.embedding("model.embed_tokens.weight", [vocabulary, hidden])?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::build(&config, weights, index))
            .collect::<Result<_, _>>()?;
        let norm = RmsNorm {
            weight: weights.weight("model.norm.weight", &[hidden])?,
            eps: config.rms_norm_eps,
        };
        let head = match (&embedding, config.tie_word_embeddings) {
            (Embedding::Dense(weight), true) => Projection::Dense {
                weight: weight.clone(),
                bias: None,
            },
            (Embedding::Quantised(weight), true) => Projection::Quantised {
                weight: candle_core::quantized::QMatMul::from_arc(Arc::clone(weight))?,
                bias: None,
            },
            (_, false) => weights.product("lm_head.weight", [vocabulary, hidden], None)?,
        };
        let rotary = rotary_table(&config, weights.pairing(), dtype.dense(), device)?;
        Ok(Self {
            config,
            embedding,
            layers,
            norm,
            head,
            rotary,
            kernels: Kernels::default(),
            device: device.clone(),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The same decoder with its operations in the form of `kernels`.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// Final hidden states, after the last normalisation, of whole sequences.
    ///
    /// Attention is causal and stays within a sequence: neither what follows a token nor the other sequences change anything.
    ///
    /// # Shapes
    ///
    /// The result is `[N, H]`, a row for each token.
    ///
    /// # Errors
    ///
    /// If a sequence is longer than the model's context, a token is outside its vocabulary, or the device fails;
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
        Ok(self.norm.forward(&hidden, self.kernels)?)
    }

    /// The embeddings of the tokens, `[N, H]`, untracked.
    pub(crate) fn embed(&self, packed: &Packed) -> Result<Tensor, ModelError> {
        let (length, context) = (packed.longest(), self.config.context());
        if length > context {
            return Err(ModelError::Context {
                tokens: length,
                context,
            });
        }
        self.embed_tokens(packed.tokens())
    }

    /// The embeddings of `tokens`, `[N, H]`, untracked.
    pub(crate) fn embed_tokens(&self, tokens: &[u32]) -> Result<Tensor, ModelError> {
        let tokens = Tensor::from_slice(tokens, tokens.len(), &self.device)?;
        Ok(match &self.embedding {
            Embedding::Dense(weight) => weight.constant().embedding(&tokens)?,
            Embedding::Quantised(weight) => weight.embedding(&tokens)?,
        })
    }

    /// Logits of chosen hidden states, in single precision. The caller bounds N.
    ///
    /// # Shapes
    ///
    /// `rows` is `[N, H]`; the result is `[N, V]`.
    ///
    /// # Errors
    ///
    /// Where the device fails.
    pub fn logits(&self, rows: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.head.scores(rows, self.kernels)?)
    }

    /// The head's weight `[V, H]` where it is dense, untracked: the embedding itself in models that tie them.
    pub fn head_weight(&self) -> Option<Tensor> {
        match &self.head {
            Projection::Dense { weight, .. } => Some(weight.constant()),
            Projection::Quantised { .. } => None,
        }
    }

    /// The sum of the gradients of the head's weight, where it learns.
    pub fn head_gradient(&self) -> Option<&GradientSum> {
        self.head.weights().next().and_then(Weight::gradient)
    }

    pub(crate) fn embedding_gradient(&self) -> Option<&GradientSum> {
        match &self.embedding {
            Embedding::Dense(weight) => weight.gradient(),
            Embedding::Quantised(_) => None,
        }
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    pub(crate) fn head(&self) -> &Projection {
        &self.head
    }

    pub(crate) fn norm(&self) -> &RmsNorm {
        &self.norm
    }

    pub(crate) fn rotary(&self) -> &RotaryTable {
        &self.rotary
    }

    pub(crate) fn kernels(&self) -> Kernels {
        self.kernels
    }
}

impl Layer {
    fn build(config: &DecoderConfig, weights: &mut dyn WeightSource, index: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let hidden = config.hidden_size;
        let (query_width, key_width) = Attention::sizes(config);
        let mut norm = |part: &str, width: usize| -> Result<RmsNorm, ModelError> {
            Ok(RmsNorm {
                weight: weights.weight(&name(part), &[width])?,
                eps: config.rms_norm_eps,
            })
        };
        let attention_norm = norm("input_layernorm.weight", hidden)?;
        let feed_forward_norm = norm("post_attention_layernorm.weight", hidden)?;
        let head_norms = if config.family.normalises_heads() {
            let query_norm = norm("self_attn.q_norm.weight", config.head_dim)?;
            Some((query_norm, norm("self_attn.k_norm.weight", config.head_dim)?))
        } else {
            None
        };
        let mut product = |part: &str, out: usize, width: usize, biased: bool| -> Result<Projection, ModelError> {
            let bias = if biased {
                Some(weights.weight(&name(&format!("{part}.bias")), &[out])?)
            } else {
                None
            };
            weights.product(&name(&format!("{part}.weight")), [out, width], bias)
        };
        let attention = Attention {
            queries: product("self_attn.q_proj", query_width, hidden, config.qkv_bias)?,
            keys: product("self_attn.k_proj", key_width, hidden, config.qkv_bias)?,
            values: product("self_attn.v_proj", key_width, hidden, config.qkv_bias)?,
            output: product("self_attn.o_proj", hidden, query_width, config.output_bias)?,
            head_norms,
            shape: AttentionShape {
                heads: config.num_attention_heads,
                key_value_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
            },
        };
        Ok(Self {
            attention_norm,
            attention,
            feed_forward_norm,
            feed_forward: FeedForward::build(config, weights, index, &name("mlp"))?,
        })
    }

    /// `[N, H]` to `[N, H]`; a token attends to itself and to those before it in its own sequence.
    pub(crate) fn forward<'a>(
        &self,
        hidden: &Tensor,
        packed: &Packed,
        rotary: &RotaryTable,
        pass: impl Into<Pass<'a>>,
    ) -> candle_core::Result<Tensor> {
        let (pass, shape) = (pass.into(), self.attention.shape);
        self.forward_with(hidden, (rotary, packed.positions()), pass, |queries, keys, values| {
            attention(queries, keys, values, shape, packed.shared_edges(), pass)
        })
    }

    /// `[N, H]` to `[N, H]`, with attention left to `mix`: from queries, keys and values, all rotated to the `positions` of
    /// their rows, to what the queries take.
    pub(crate) fn forward_with(
        &self,
        hidden: &Tensor,
        rotated: (&RotaryTable, &Arc<[u32]>),
        pass: Pass<'_>,
        mix: impl FnOnce(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let normalised = self.attention_norm.forward(hidden, pass)?;
        let hidden = self.attention.forward(&normalised, hidden, rotated, pass, mix)?;
        let normalised = self.feed_forward_norm.forward(&hidden, pass)?;
        self.feed_forward.forward(&normalised, &hidden, pass)
    }

    /// The shape of its attention.
    pub(crate) fn attention_shape(&self) -> AttentionShape {
        self.attention.shape
    }

    /// Its dense parameters.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &Weight> {
        let norms = [&self.attention_norm.weight, &self.feed_forward_norm.weight];
        norms
            .into_iter()
            .chain(self.attention.weights())
            .chain(self.feed_forward.weights())
    }
}
