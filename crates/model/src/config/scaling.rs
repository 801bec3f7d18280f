//! Rotary scaling, which extends a model to contexts longer than that of its pre-training.

use serde::{Deserialize, Serialize};

/// How rotary frequencies are changed for contexts longer than that of pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "rope_type")]
pub enum RotaryScaling {
    /// They are not changed.
    Default,
    /// All are divided by `factor`.
    Linear {
        /// By how much all wavelengths are stretched.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths are stretched by `factor`, short ones are kept, and those between are interpolated.
    Llama3 {
        /// By how much long wavelengths are stretched.
        factor: f64,
        /// Wavelengths above context / `low_freq_factor` are stretched fully.
        low_freq_factor: f64,
        /// Wavelengths below context / `high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context of pre-training.
        original_max_position_embeddings: usize,
    },
    /// YaRN (arXiv 2309.00071): frequencies with fewer than `beta_slow` turns in the context of pre-training are divided by
    /// `factor`, those with more than `beta_fast` turns are kept, and those between are interpolated. Queries and keys are
    /// scaled by `attention_factor`.
    Yarn {
        /// By how much long wavelengths are stretched.
        factor: f64,
        /// The context of pre-training.
        original_max_position_embeddings: usize,
        /// Multiplies queries and keys.
        attention_factor: f64,
        /// The number of turns above which a frequency is kept.
        beta_fast: f64,
        /// The number of turns below which a frequency is divided by `factor`.
        beta_slow: f64,
        /// Whether the range between the two is widened to whole dimensions of a head.
        truncate: bool,
    },
    /// `LongRoPE` (arXiv 2402.13753): one divisor for each frequency. There is another set for sequences that are longer than the
    /// context of pre-training; it would also change the values of their first tokens, so that context is the model's here.
    #[serde(rename = "longrope")]
    LongRope {
        /// The divisors within the context of pre-training.
        short_factor: Vec<f64>,
        /// The divisors beyond it, which are only kept for the export.
        long_factor: Vec<f64>,
        /// Multiplies queries and keys.
        attention_factor: f64,
        /// The context of pre-training.
        original_max_position_embeddings: usize,
    },
    /// One divisor for each frequency, as GGUF stores it in `rope_freqs.weight`.
    Divisors {
        /// `head_dim / 2` divisors.
        divisors: Vec<f32>,
    },
}

/// YaRN's default scale of queries and keys for a stretching by `factor`: 0.1 ln(factor) + 1.
pub(crate) fn yarn_attention_factor(factor: f64) -> f64 {
    mscale(factor, 1.0)
}

/// 0.1 · `weight` · ln(`factor`) + 1; 1 if nothing is stretched.
pub(super) fn mscale(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * weight * factor.ln() + 1.0
    }
}

impl RotaryScaling {
    /// The context of a scaled model whose configuration states a context of `written` tokens.
    ///
    /// Configurations that switch on YaRN usually keep the context of the model without it.
    pub(super) fn context(&self, written: usize) -> usize {
        match self {
            Self::Yarn {
                factor,
                original_max_position_embeddings,
                ..
            } => written.max((*original_max_position_embeddings as f64 * factor) as usize),
            Self::LongRope {
                original_max_position_embeddings: original,
                ..
            } => written.min(*original),
            _ => written,
        }
    }

    /// The key, value and rule of the first number that is out of range, for heads of which `rotary_dim` elements rotate.
    pub(super) fn problem(&self, rotary_dim: usize) -> Option<(&'static str, String, &'static str)> {
        const POSITIVE: &str = "it must be a positive number";
        let positive = |pairs: &[(&'static str, f64)]| {
            let wrong = pairs.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0));
            wrong.map(|(key, value)| (*key, value.to_string(), POSITIVE))
        };
        match self {
            Self::Default => None,
            Self::Linear { factor } => positive(&[("factor", *factor)]),
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
            Self::LongRope {
                short_factor,
                long_factor,
                attention_factor,
                original_max_position_embeddings: original,
            } => positive(&[
                ("attention_factor", *attention_factor),
                ("original_max_position_embeddings", *original as f64),
            ])
            .or_else(|| {
                [("short_factor", short_factor), ("long_factor", long_factor)]
                    .into_iter()
                    .find_map(|(key, factors)| {
                        let pairs: Vec<_> = factors.iter().map(|&factor| (key, factor)).collect();
                        positive(&pairs).or_else(|| {
                            (factors.len() != rotary_dim / 2).then(|| {
                                let expected = "it must be one number for each pair of elements that rotate";
                                (key, format!("{} numbers", factors.len()), expected)
                            })
                        })
                    })
            }),
            Self::Divisors { divisors } => {
                let wrong = divisors
                    .iter()
                    .find(|divisor| !(divisor.is_finite() && **divisor > 0.0));
                let wrong = wrong.map(|divisor| ("rope_freqs.weight", divisor.to_string(), POSITIVE));
                wrong.or_else(|| {
                    (divisors.len() != rotary_dim / 2).then(|| {
                        let expected = "it must be one divisor for each pair of elements of a head";
                        ("rope_freqs.weight", format!("{} divisors", divisors.len()), expected)
                    })
                })
            }
        }
    }
}
