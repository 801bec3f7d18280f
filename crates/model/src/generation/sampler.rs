//! The choice of the next token.

use std::fmt;

use candle_core::Tensor;
use candle_transformers::generation::{LogitsProcessor, Sampling as Processing};
use leadspan_kernels::with_values;
use leadspan_simd::on_widest_vectors;

use super::settings::Sampling;
use crate::error::ModelError;

/// Chooses the tokens of one sample.
pub(super) enum Sampler {
    /// The most probable token.
    Greedy,
    /// A random token. The sample has its own generator, so its draws do not depend on other samples.
    Drawn(Box<LogitsProcessor>),
}

impl Sampler {
    /// The sampler of the sample `index`.
    pub(super) fn new(sampling: &Sampling, index: u64) -> Self {
        let &Sampling::Drawn {
            temperature,
            top_p,
            top_k,
            seed,
        } = sampling
        else {
            return Self::Greedy;
        };
        let processing = match top_k {
            None if top_p < 1.0 => Processing::TopP { p: top_p, temperature },
            None => Processing::All { temperature },
            Some(k) if top_p < 1.0 => Processing::TopKThenTopP {
                k,
                p: top_p,
                temperature,
            },
            Some(k) => Processing::TopK { k, temperature },
        };
        Self::Drawn(Box::new(LogitsProcessor::from_sampling(
            seed_of(seed, index),
            processing,
        )))
    }

    /// The next token, from the logits `[V]` in single precision and CPU memory.
    ///
    /// # Errors
    ///
    /// If a logit is not finite.
    pub(super) fn next_token(&mut self, logits: &Tensor) -> Result<u32, ModelError> {
        let best = with_values(logits, |logits| Ok(most_probable(logits)))?;
        let best = best.ok_or(ModelError::NonFiniteLogits)?;
        match self {
            Self::Greedy => Ok(best),
            Self::Drawn(processor) => Ok(processor.sample(logits)?),
        }
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greedy => "greedy",
            Self::Drawn(_) => "drawn",
        })
    }
}

/// The seed of one sample's generator.
fn seed_of(seed: u64, index: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"generation")
        .update(&seed.to_le_bytes())
        .update(&index.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// The index of the largest value, the first of equal ones; `None` if a value is not a number or the largest is not finite.
fn most_probable(logits: &[f32]) -> Option<u32> {
    let (max, numbers) = largest(logits);
    let place = logits.iter().position(|&logit| logit == max)?;
    (numbers && max.is_finite()).then_some(place as u32)
}

on_widest_vectors! {
    /// The largest value, and whether all are numbers.
    fn largest(values: &[f32]) -> (f32, bool) {
        const LANES: usize = 16;
        let (lanes, rest) = values.as_chunks::<LANES>();
        let mut max = [f32::NEG_INFINITY; LANES];
        let mut nan = [false; LANES];
        for values in lanes {
            for lane in 0..LANES {
                max[lane] = max[lane].max(values[lane]);
                nan[lane] |= values[lane].is_nan();
            }
        }
        let max = max.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        (max, !nan.contains(&true) && !rest.iter().any(|value| value.is_nan()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_most_probable_token_is_the_first_of_equal_ones() {
        assert_eq!(most_probable(&[1.0, 3.0, 3.0]), Some(1));
        let mut long: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 997) as f32).collect();
        long[700] = 5000.0;
        assert_eq!(most_probable(&long), Some(700));
        long[3] = 5000.0;
        assert_eq!(most_probable(&long), Some(3));
        long[999] = 5001.0;
        assert_eq!(most_probable(&long), Some(999));
        assert_eq!(most_probable(&[f32::NEG_INFINITY, -2.0]), Some(1));
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() {
        assert_eq!(most_probable(&[f32::NAN, 1.0]), None);
        assert_eq!(most_probable(&[1.0, f32::INFINITY]), None);
        let mut long = vec![0.0; 40];
        long[20] = f32::NAN;
        assert_eq!(most_probable(&long), None);
        let logits = Tensor::new(&[f32::NAN, 1.0], &Device::Cpu).unwrap();
        let drawn = Sampling::Drawn {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            seed: 0,
        };
        assert!(matches!(
            Sampler::new(&drawn, 0).next_token(&logits),
            Err(ModelError::NonFiniteLogits)
        ));
    }

    #[test]
    fn draws_follow_the_probabilities_of_the_tokens_that_may_be_drawn() {
        let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let logits = Tensor::new(logits, &Device::Cpu).unwrap();
        let counts = |temperature: f64, top_p: f64, top_k: Option<usize>| {
            let mut counts = [0u32; 4];
            for index in 0..4000 {
                let sampling = Sampling::Drawn {
                    temperature,
                    top_p,
                    top_k,
                    seed: 7,
                };
                counts[Sampler::new(&sampling, index).next_token(&logits).unwrap() as usize] += 1;
            }
            counts.map(|count| f64::from(count) / 4000.0)
        };
        // Four standard deviations of a proportion of 4,000 draws are at most 0.032.
        let close = |found: [f64; 4], expected: [f64; 4]| {
            assert!(
                found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.032),
                "{found:?} {expected:?}"
            );
        };
        close(counts(1.0, 1.0, None), [0.5, 0.3, 0.15, 0.05]);
        // p^2 over its sum, 0.365.
        close(counts(0.5, 1.0, None), [0.6849, 0.2466, 0.0616, 0.0068]);
        close(counts(1.0, 1.0, Some(2)), [0.625, 0.375, 0.0, 0.0]);
        close(counts(1.0, 0.6, None), [0.625, 0.375, 0.0, 0.0]);
        close(counts(1.0, 0.4, Some(3)), [1.0, 0.0, 0.0, 0.0]);
    }
}
