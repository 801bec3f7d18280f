//! What a configuration says about a decoder beyond the plain one: windows and rotation of its layers, and multipliers.

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
}

/// What distinguishes a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerKind {
    /// The most tokens that a token attends to: itself and those just before it. `None` if it attends to all earlier ones.
    pub window: Option<usize>,
    /// How queries and keys are rotated.
    pub rotation: Rotation,
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
    pub(super) fn tidied(mut self, context: usize) -> Self {
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

fn is_one(value: &f64) -> bool {
    *value == 1.0
}
