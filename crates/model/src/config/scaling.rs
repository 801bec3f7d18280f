//! Rotary scaling: how a model was stretched to contexts longer than those of its pre-training.

use serde::{Deserialize, Serialize};

/// How rotary frequencies are changed for contexts longer than those of pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "rope_type")]
pub enum RotaryScaling {
    /// Not at all.
    Default,
    /// Llama 3.1's: long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// How much long wavelengths are stretched.
        factor: f64,
        /// Wavelengths above context / this are stretched fully.
        low_freq_factor: f64,
        /// Wavelengths below context / this are kept.
        high_freq_factor: f64,
        /// The context of pre-training.
        original_max_position_embeddings: usize,
    },
    /// YaRN (arXiv 2309.00071): frequencies that turn less than `beta_slow` times in the context of pre-training are divided
    /// by `factor`, those that turn more than `beta_fast` times are kept, those between interpolated; and queries and keys
    /// are lengthened.
    Yarn {
        /// How much long wavelengths are stretched.
        factor: f64,
        /// The context of pre-training.
        original_max_position_embeddings: usize,
        /// What queries and keys are multiplied by.
        attention_factor: f64,
        /// Turns from which on a frequency is kept.
        beta_fast: f64,
        /// Turns up to which a frequency is divided.
        beta_slow: f64,
        /// Whether the range between the two is widened to whole dimensions.
        truncate: bool,
    },
    /// One divisor for each frequency, as GGUF stores it in `rope_freqs.weight`.
    Divisors {
        /// `head_dim / 2` divisors.
        divisors: Vec<f32>,
    },
}

/// The factor of queries and keys that YaRN has for a stretching by `factor`: 0.1 ln(factor) + 1.
pub(crate) fn yarn_attention_factor(factor: f64) -> f64 {
    mscale(factor, 1.0)
}

/// 0.1 · `weight` · ln(`factor`) + 1, where there is any stretching.
pub(super) fn mscale(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * weight * factor.ln() + 1.0
    }
}

impl RotaryScaling {
    /// The positions up to which the scaling stretches a model whose configuration speaks of `written` of them.
    ///
    /// Configurations that switch YaRN on usually leave the number of positions as it was without.
    pub(super) fn context(&self, written: usize) -> usize {
        match self {
            Self::Yarn {
                factor,
                original_max_position_embeddings,
                ..
            } => written.max((*original_max_position_embeddings as f64 * factor) as usize),
            _ => written,
        }
    }

    /// The key, value and rule of the first number that would make angles wrong, for heads of `head_dim` elements.
    pub(super) fn problem(&self, head_dim: usize) -> Option<(&'static str, String, &'static str)> {
        const POSITIVE: &str = "it must be a positive number";
        let positive = |pairs: &[(&'static str, f64)]| {
            let wrong = pairs.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0));
            wrong.map(|(key, value)| (*key, value.to_string(), POSITIVE))
        };
        match self {
            Self::Default => None,
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: original,
            } => positive(&[
                ("factor", *factor),
                ("low_freq_factor", *low),
                ("high_freq_factor", *high),
                ("original_max_position_embeddings", *original as f64),
            ])
            .or_else(|| {
                (high <= low).then(|| {
                    let expected = "it must be above `low_freq_factor`";
                    ("high_freq_factor", high.to_string(), expected)
                })
            }),
            Self::Yarn {
                factor,
                original_max_position_embeddings: original,
                attention_factor,
                beta_fast,
                beta_slow,
                truncate: _,
            } => positive(&[
                ("factor", *factor),
                ("original_max_position_embeddings", *original as f64),
                ("attention_factor", *attention_factor),
                ("beta_fast", *beta_fast),
                ("beta_slow", *beta_slow),
            ])
            .or_else(|| {
                (beta_fast < beta_slow).then(|| ("beta_fast", beta_fast.to_string(), "it must be at least `beta_slow`"))
            }),
            Self::Divisors { divisors } => {
                let wrong = divisors
                    .iter()
                    .find(|divisor| !(divisor.is_finite() && **divisor > 0.0));
                let wrong = wrong.map(|divisor| ("rope_freqs.weight", divisor.to_string(), POSITIVE));
                wrong.or_else(|| {
                    (divisors.len() != head_dim / 2).then(|| {
                        let expected = "it must be one divisor for each pair of elements of a head";
                        ("rope_freqs.weight", format!("{} divisors", divisors.len()), expected)
                    })
                })
            }
        }
    }
}
