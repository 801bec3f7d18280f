//! How samples are generated.

use crate::ModelError;

/// How much is generated, how many samples at a time, and how a token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationSettings {
    /// The most new tokens of a sample.
    pub max_new_tokens: usize,
    /// Samples that go through the decoder together. What they get does not depend on it.
    pub batch_samples: usize,
    /// How the next token is chosen.
    pub sampling: Sampling,
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most probable one, of equal ones that of the lowest number.
    Greedy,
    /// One is drawn.
    Drawn {
        /// What the scores are divided by, above 0.
        temperature: f64,
        /// Only the most probable tokens that together have this much probability, above 0 and at most 1.
        top_p: f64,
        /// Only so many of the most probable tokens.
        top_k: Option<usize>,
        /// Decides, with the sample's index, what is drawn.
        seed: u64,
    },
}

impl GenerationSettings {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let invalid = |setting, problem| Err(ModelError::Generation { setting, problem });
        if self.max_new_tokens == 0 {
            return invalid("max_new_tokens", "there must be room for a token");
        }
        if self.batch_samples == 0 {
            return invalid("batch_samples", "there must be room for a sample");
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
                return invalid("top_k", "there must be a token to draw");
            }
        }
        Ok(())
    }
}
