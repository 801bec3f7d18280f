//! Settings of generation.

use crate::error::ModelError;

/// How much is generated, how many samples at a time, and how tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationSettings {
    /// The largest number of new tokens per sample.
    pub max_new_tokens: usize,
    /// How many samples go through the decoder together. Their tokens do not depend on it.
    pub batch_samples: usize,
    /// How the next token is chosen.
    pub sampling: Sampling,
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most probable token, ties to the lower id.
    Greedy,
    /// A token is drawn at random.
    Drawn {
        /// Divides the logits; above 0.
        temperature: f64,
        /// Draws only from the most probable tokens that together reach this probability; above 0 and at most 1.
        top_p: f64,
        /// Draws only from this many most probable tokens.
        top_k: Option<usize>,
        /// Determines the draws, together with the sample's index.
        seed: u64,
    },
}

impl GenerationSettings {
    /// Refuses values that are out of range.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let invalid = |setting, problem| Err(ModelError::Generation { setting, problem });
        if self.max_new_tokens == 0 {
            return invalid("max_new_tokens", "it must be at least 1");
        }
        if self.batch_samples == 0 {
            return invalid("batch_samples", "it must be at least 1");
        }
        if let Sampling::Drawn {
            temperature,
            top_p,
            top_k,
            ..
        } = self.sampling
        {
            if !(temperature.is_finite() && temperature > 0.0) {
                return invalid("temperature", "it must be above 0; 0 is greedy decoding");
            }
            if !(top_p > 0.0 && top_p <= 1.0) {
                return invalid("top_p", "it must be above 0 and at most 1");
            }
            if top_k == Some(0) {
                return invalid("top_k", "it must be at least 1");
            }
        }
        Ok(())
    }
}
