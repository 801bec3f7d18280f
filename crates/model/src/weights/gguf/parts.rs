//! What the metadata of a GGUF file says about windows, rotation and multipliers of a model, as llama.cpp reads it. What has no key is
//! as llama.cpp has it built in.

use candle_core::quantized::gguf_file::Value;

use super::architecture_keys::ArchitectureKeys;
use crate::{
    config::{
        DecoderConfig,
        parts::{LayerKind, Parts, Rotation},
    },
    error::ModelError,
    families::Family,
};

/// In `SmolLM3`, every layer whose number, counted from 1, is a multiple of this one does not rotate.
const UNROTATED_EVERY: usize = 4;

/// In Gemma 3, every layer whose number is a multiple of this one is global, unless a key says otherwise.
const GLOBAL_EVERY: usize = 6;

/// The base of local layers, unless a key says otherwise.
const LOCAL_BASE: f64 = 10_000.0;

/// The number of layers of the Gemma 3 whose scores are scaled by the width that each head has of a hidden state.
const GEMMA_27B_LAYERS: usize = 62;

impl ArchitectureKeys<'_> {
    /// Where the decoder of `config` differs from a plain one.
    ///
    /// # Errors
    ///
    /// If a key has a value that is not supported, or describes other layers than there are.
    pub(super) fn parts(self, config: &DecoderConfig) -> Result<Parts, ModelError> {
        if !matches!(self.family, Family::Smollm3 | Family::Gemma3Text | Family::Granite) {
            return Ok(Parts::default());
        }
        // Each layer has tensors of its own, so a list of layers is no longer than the file.
        if config.num_hidden_layers > self.file.tensor_count() {
            return Err(self.refuse("block_count", "the file has fewer layers"));
        }
        match self.family {
            Family::Smollm3 => Ok(unrotated(config.num_hidden_layers)),
            Family::Gemma3Text => self.gemma3(config),
            _ => self.granite(),
        }
    }

    fn gemma3(self, config: &DecoderConfig) -> Result<Parts, ModelError> {
        let window = self.optional_number("attention.sliding_window")?;
        let window = window.filter(|&window| window > 0);
        let local = self.local_layers(config.num_hidden_layers)?;
        let kind = |is_local: bool| LayerKind {
            window: window.filter(|_| is_local),
            // Without a window, no layer is local.
            rotation: if is_local && window.is_some() {
                Rotation::Local
            } else {
                Rotation::Global
            },
            ..LayerKind::default()
        };
        Ok(Parts {
            layers: local.into_iter().map(kind).collect(),
            local_rope_theta: Some(self.float("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE)),
            score_scale: Some((gemma3_score_width(config) as f64).powf(-0.5)),
            embedding_scale: (config.hidden_size as f64).sqrt(),
            ..Parts::default()
        })
    }

    /// Whether each layer is local: a list of switches, or the number of layers of which the last is global.
    fn local_layers(self, layers: usize) -> Result<Vec<bool>, ModelError> {
        const KEY: &str = "attention.sliding_window_pattern";
        if let Some(Value::Array(values)) = self.file.content().metadata.get(&self.key(KEY)) {
            let local: Option<Vec<bool>> = values.iter().map(|value| value.to_bool().ok()).collect();
            let expected = format!("it must be a whole number, or a switch for each of the {layers} layers");
            return local
                .filter(|local| local.len() == layers)
                .ok_or_else(|| self.refuse(KEY, &expected));
        }
        match self.optional_number(KEY)?.unwrap_or(GLOBAL_EVERY) {
            0 => Err(self.refuse(KEY, "it must be at least 1")),
            every => Ok((1..=layers).map(|number| !number.is_multiple_of(every)).collect()),
        }
    }

    fn granite(self) -> Result<Parts, ModelError> {
        // For this family alone, llama.cpp takes the key for a switch of the rotary embedding.
        if self.file.switch(&self.key("rope.scaling.finetuned")) == Some(false) {
            return Err(self.refuse(
                "rope.scaling.finetuned",
                "a Granite without rotary embedding is not supported",
            ));
        }
        // Zero stands for no factor.
        let factor = |suffix: &str| Ok::<_, ModelError>(self.float(suffix)?.filter(|&factor| factor != 0.0));
        Ok(Parts {
            score_scale: factor("attention.scale")?,
            embedding_scale: factor("embedding_scale")?.unwrap_or(1.0),
            residual_scale: factor("residual_scale")?.unwrap_or(1.0),
            logit_divisor: factor("logit_scale")?.unwrap_or(1.0),
            ..Parts::default()
        })
    }
}

fn unrotated(layers: usize) -> Parts {
    let kind = |number: usize| LayerKind {
        rotation: if number.is_multiple_of(UNROTATED_EVERY) {
            Rotation::None
        } else {
            Rotation::Global
        },
        ..LayerKind::default()
    };
    Parts {
        layers: (1..=layers).map(kind).collect(),
        ..Parts::default()
    }
}

/// The width by whose root the scores are divided: that of a head, and in the largest model the share of a hidden state.
fn gemma3_score_width(config: &DecoderConfig) -> usize {
    if config.num_hidden_layers == GEMMA_27B_LAYERS {
        config.hidden_size / config.num_attention_heads.max(1)
    } else {
        config.head_dim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_gemma3_are_scaled_as_the_published_models_say() {
        // Layers, hidden width, heads and width of a head, and `query_pre_attn_scalar` of 270M, 1B, 4B, 12B and 27B.
        for (layers, hidden, heads, head, scalar) in [
            (18, 640, 4, 256, 256),
            (26, 1152, 4, 256, 256),
            (34, 2560, 8, 256, 256),
            (48, 3840, 16, 256, 256),
            (62, 5376, 32, 128, 168),
        ] {
            let config = DecoderConfig {
                num_hidden_layers: layers,
                hidden_size: hidden,
                num_attention_heads: heads,
                ..DecoderConfig::for_test(head)
            };
            assert_eq!(gemma3_score_width(&config), scalar);
        }
    }
}
