//! The decoder: embedding, layers of attention and feed-forward, final normalisation, head.

use candle_core::{Device, Tensor, quantized::QTensor};
use std::sync::Arc;

use crate::{
    ModelError, ModelSource, Parameters, StoredDtype, StudentStart,
    attention::{Attention, CausalMasks},
    config::{DecoderConfig, Family},
    norm::RmsNorm,
    projection::Projection,
    rotary::{Pairing, RotaryTable},
};

/// A decoder-only transformer of the Llama, Qwen2 or Qwen3 family.
///
/// The same forward serves the teacher (no gradients, fused operations where the tensor library has them) and the
/// student (every parameter in the graph).
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Projection,
    rotary: RotaryTable,
    masks: CausalMasks,
    device: Device,
}

#[derive(Clone, Debug)]
pub(crate) enum Embedding {
    /// [vocabulary, hidden]
    Dense(Tensor),
    Quantised(Arc<QTensor>),
}

#[derive(Clone, Debug)]
struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    gate: Projection,
    up: Projection,
    down: Projection,
}

/// Where a decoder's weights come from, by their Hugging Face names.
pub(crate) trait WeightSource {
    /// A dense weight of the given shape.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError>;

    /// The weight of a product, [out, in].
    fn product(&mut self, name: &str, shape: [usize; 2], bias: Option<Tensor>) -> Result<Projection, ModelError> {
        Ok(Projection::Dense {
            weight: self.tensor(name, &shape)?,
            bias,
        })
    }

    /// The token embedding, [vocabulary, hidden].
    fn embedding(&mut self, name: &str, shape: [usize; 2]) -> Result<Embedding, ModelError> {
        self.tensor(name, &shape).map(Embedding::Dense)
    }

    /// Which elements of a head rotate together.
    fn pairing(&self) -> Pairing {
        Pairing::Halves
    }
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
    /// As [`load`](Self::load), and where chosen layers do not exist.
    pub fn trainable(start: &StudentStart, device: &Device) -> Result<(Self, Parameters), ModelError> {
        let (config, mut variables) = start.open(device)?;
        let decoder = Self::build(config, &mut variables, StoredDtype::F32, device)?;
        Ok((decoder, variables.into_parameters()))
    }

    /// A view of a student that shares its parameters but builds no graph, for validation and generation.
    ///
    /// # Errors
    ///
    /// Where the parameters do not fit the configuration.
    pub fn frozen(config: &DecoderConfig, parameters: &Parameters, device: &Device) -> Result<Self, ModelError> {
        let mut weights = parameters;
        Self::build(config.clone(), &mut weights, StoredDtype::F32, device)
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
            weight: weights.tensor("model.norm.weight", &[hidden])?,
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
        let rotary = RotaryTable::new(&config, weights.pairing(), dtype.dense(), device)?;
        let masks = CausalMasks::new(dtype.dense(), device)?;
        Ok(Self {
            config,
            embedding,
            layers,
            norm,
            head,
            rotary,
            masks,
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

    /// Final hidden states, after the last normalisation, of whole sequences.
    ///
    /// Attention is causal: padding after a sequence changes nothing before it.
    ///
    /// # Shapes
    ///
    /// `tokens` is `[B, T]` of u32; the result is `[B, T, H]`.
    ///
    /// # Errors
    ///
    /// Where T is beyond the model's context, a token beyond its vocabulary, or the device fails.
    pub fn hidden_states(&self, tokens: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, length) = tokens.dims2()?;
        if length > self.config.max_position_embeddings {
            return Err(ModelError::Context {
                tokens: length,
                context: self.config.max_position_embeddings,
            });
        }
        let flat = tokens.flatten_all()?;
        let embedded = match &self.embedding {
            Embedding::Dense(weight) => weight.embedding(&flat)?,
            Embedding::Quantised(weight) => weight.embedding(&flat)?,
        };
        let mut hidden = embedded.reshape((batch, length, self.config.hidden_size))?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, &self.rotary, &self.masks)?;
        }
        Ok(self.norm.forward(&hidden)?)
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
        Ok(self.head.scores(rows)?)
    }

    /// The head's weight `[V, H]` where it is dense: the embedding itself in models that tie them.
    pub fn head_weight(&self) -> Option<&Tensor> {
        match &self.head {
            Projection::Dense { weight, .. } => Some(weight),
            Projection::Quantised { .. } => None,
        }
    }
}

impl Layer {
    fn build(config: &DecoderConfig, weights: &mut dyn WeightSource, index: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (query_width, key_width) = Attention::sizes(config);
        let mut norm = |part: &str, width: usize| -> Result<RmsNorm, ModelError> {
            Ok(RmsNorm {
                weight: weights.tensor(&name(part), &[width])?,
                eps: config.rms_norm_eps,
            })
        };
        let attention_norm = norm("input_layernorm.weight", hidden)?;
        let feed_forward_norm = norm("post_attention_layernorm.weight", hidden)?;
        let head_norms = if config.family == Family::Qwen3 {
            let query_norm = norm("self_attn.q_norm.weight", config.head_dim)?;
            Some((query_norm, norm("self_attn.k_norm.weight", config.head_dim)?))
        } else {
            None
        };
        let mut product = |part: &str, out: usize, width: usize, biased: bool| -> Result<Projection, ModelError> {
            let bias = if biased {
                Some(weights.tensor(&name(&format!("{part}.bias")), &[out])?)
            } else {
                None
            };
            weights.product(&name(&format!("{part}.weight")), [out, width], bias)
        };
        Ok(Self {
            attention_norm,
            attention: Attention {
                queries: product("self_attn.q_proj", query_width, hidden, config.qkv_bias)?,
                keys: product("self_attn.k_proj", key_width, hidden, config.qkv_bias)?,
                values: product("self_attn.v_proj", key_width, hidden, config.qkv_bias)?,
                output: product("self_attn.o_proj", hidden, query_width, config.output_bias)?,
                head_norms,
                num_attention_heads: config.num_attention_heads,
                num_key_value_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
            },
            feed_forward_norm,
            gate: product("mlp.gate_proj", inner, hidden, false)?,
            up: product("mlp.up_proj", inner, hidden, false)?,
            down: product("mlp.down_proj", hidden, inner, false)?,
        })
    }

    fn forward(&self, hidden: &Tensor, rotary: &RotaryTable, masks: &CausalMasks) -> candle_core::Result<Tensor> {
        let attended = self
            .attention
            .forward(&self.attention_norm.forward(hidden)?, rotary, masks)?;
        let hidden = (hidden + attended)?;
        let normalised = self.feed_forward_norm.forward(&hidden)?;
        let gated = (self.gate.forward(&normalised)?.silu()? * self.up.forward(&normalised)?)?;
        &hidden + self.down.forward(&gated)?
    }
}
