//! What a configuration says about a decoder beyond the plain one: windows and rotation of its layers, multipliers, layers of
//! linear attention.

use serde::{Deserialize, Serialize};

/// Where a decoder differs from a plain one. What all models of a family share is not here but in the family's description.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parts {
    /// The layers, if some are not plain; empty if all are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerKind>,
    /// The base of the rotary frequencies of layers with [`Rotation::Local`], which are not scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_rope_theta: Option<f64>,
    /// The factor of the scores of attention; `None` stands for 1 / √D.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_scale: Option<f64>,
    /// Multiplies the embeddings.
    #[serde(skip_serializing_if = "is_one")]
    pub embedding_scale: f64,
    /// Multiplies what a block adds to the residual stream.
    #[serde(skip_serializing_if = "is_one")]
    pub residual_scale: f64,
    /// Divides the logits.
    #[serde(skip_serializing_if = "is_one")]
    pub logit_divisor: f64,
    /// The first elements of a head, which rotate; `None` if all do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotary_dim: Option<usize>,
    /// The shape of linear layers, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<LinearAttention>,
}

/// The shape of layers with linear attention by the gated delta rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinearAttention {
    /// The number of heads of queries and keys.
    pub key_heads: usize,
    /// The number of heads of values; a multiple of the other.
    pub value_heads: usize,
    /// The width of a query and of a key.
    pub key_dim: usize,
    /// The width of a value.
    pub value_dim: usize,
    /// The number of tokens that the convolution sees.
    pub taps: usize,
}

/// What distinguishes a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerKind {
    /// The most tokens that a token attends to: itself and those just before it. `None` if it attends to all earlier ones.
    pub window: Option<usize>,
    /// How queries and keys are rotated.
    pub rotation: Rotation,
    /// Whether the layer has linear attention in place of attention.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_linear: bool,
}

/// How queries and keys of a layer are rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// By the base and the scaling of the model.
    #[default]
    Global,
    /// By the base of local layers, without scaling.
    Local,
    /// Not at all.
    None,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            local_rope_theta: None,
            score_scale: None,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logit_divisor: 1.0,
            rotary_dim: None,
            linear: None,
        }
    }
}

impl Parts {
    /// Whether the decoder is plain.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Layer `index`.
    pub(crate) fn layer(&self, index: usize) -> LayerKind {
        self.layers.get(index).copied().unwrap_or_default()
    }

    /// The parts of a model of which only the layers with these numbers are kept.
    pub(crate) fn of_layers(&self, numbers: &[usize]) -> Self {
        let layers = if self.layers.is_empty() {
            Vec::new()
        } else {
            numbers.iter().map(|&number| self.layer(number)).collect()
        };
        let parts = Self { layers, ..self.clone() };
        parts.tidied(usize::MAX)
    }

    /// The same parts without windows that hide nothing in a context of so many tokens, and without a list of plain layers.
    pub(crate) fn tidied(mut self, context: usize) -> Self {
        for layer in &mut self.layers {
            layer.window = layer.window.filter(|&window| window < context);
        }
        if self.layers.iter().all(|layer| *layer == LayerKind::default()) {
            self.layers.clear();
        }
        self
    }

    /// The key, value and rule of the first number that is out of range, in a model of `layers` layers.
    pub(super) fn problem(&self, layers: usize) -> Option<(&'static str, String, &'static str)> {
        if !self.layers.is_empty() && self.layers.len() != layers {
            let expected = "it must be the number of layers that are described";
            return Some(("num_hidden_layers", layers.to_string(), expected));
        }
        if self.layers.iter().any(|layer| layer.window == Some(0)) {
            return Some(("sliding_window", "0".to_owned(), "it must be at least 1"));
        }
        if self.local_rope_theta.is_none() && self.layers.iter().any(|layer| layer.rotation == Rotation::Local) {
            let expected = "local layers need it";
            return Some(("rope_local_base_freq", "missing".to_owned(), expected));
        }
        if let Some(wrong) = self.linear.as_ref().and_then(LinearAttention::problem) {
            return Some(wrong);
        }
        let numbers = [
            ("rope_local_base_freq", self.local_rope_theta.unwrap_or(1.0)),
            ("the factor of attention scores", self.score_scale.unwrap_or(1.0)),
            ("embedding_multiplier", self.embedding_scale),
            ("residual_multiplier", self.residual_scale),
            ("logits_scaling", self.logit_divisor),
        ];
        let wrong = numbers
            .into_iter()
            .find(|(_, value)| !(value.is_finite() && *value > 0.0));
        wrong.map(|(key, value)| (key, value.to_string(), "it must be a positive number"))
    }
}

impl LinearAttention {
    /// The key, value and rule of the first number that is out of range.
    fn problem(&self) -> Option<(&'static str, String, &'static str)> {
        let numbers = [
            ("linear_num_key_heads", self.key_heads),
            ("linear_num_value_heads", self.value_heads),
            ("linear_key_head_dim", self.key_dim),
            ("linear_value_head_dim", self.value_dim),
            ("linear_conv_kernel_dim", self.taps),
        ];
        let wrong = numbers
            .into_iter()
            .find(|(_, number)| !(1..=MOST_OF_HEADS).contains(number));
        if let Some((key, number)) = wrong {
            let expected = "it must be a positive number of a sensible size";
            return Some((key, number.to_string(), expected));
        }
        (!self.value_heads.is_multiple_of(self.key_heads)).then(|| {
            let expected = "it must be a multiple of `linear_num_key_heads`";
            ("linear_num_value_heads", self.value_heads.to_string(), expected)
        })
    }
}

/// The largest number, and the largest width, of heads of linear attention.
const MOST_OF_HEADS: usize = 1 << 12;

fn is_one<T: PartialEq<f64>>(value: &T) -> bool {
    *value == 1.0
}
