//! The angles of rotary position embedding (arXiv 2104.09864), with Llama 3.1's frequency scaling.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Result, Tensor};

use crate::config::{DecoderConfig, RotaryScaling};

/// Which elements of a head form a pair that is rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Element i with element i + `head_dim`/2, as in Hugging Face weights.
    Halves,
    /// Element 2i with element 2i + 1, as in GGUF files of the Llama architecture.
    Neighbours,
}

/// Cosines and sines for every position the model knows.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    /// [positions, `head_dim`/2]
    cosines: Tensor,
    sines: Tensor,
    pairing: Pairing,
}

/// The rotary frequencies θ^(−2i/d), scaled as the configuration says; `head_dim`/2 of them.
pub(crate) fn frequencies(config: &DecoderConfig) -> Vec<f64> {
    let half = config.head_dim / 2;
    (0..half)
        .map(|index| {
            let frequency = config.rope_theta.powf(-2.0 * index as f64 / config.head_dim as f64);
            match &config.rope_scaling {
                RotaryScaling::Default => frequency,
                RotaryScaling::Divisors { divisors } => frequency / f64::from(divisors[index]),
                RotaryScaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings,
                } => {
                    let turns = *original_max_position_embeddings as f64 * frequency / TAU;
                    let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    kept * frequency + (1.0 - kept) * frequency / factor
                }
            }
        })
        .collect()
}

impl RotaryTable {
    /// The table of a model. Angles are computed in double precision and rounded once.
    ///
    /// # Errors
    ///
    /// Where there is no memory for it on the device.
    pub fn new(config: &DecoderConfig, pairing: Pairing, dtype: DType, device: &Device) -> Result<Self> {
        let frequencies = frequencies(config);
        let shape = (config.max_position_embeddings, frequencies.len());
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = (0..config.max_position_embeddings)
                .flat_map(|position| {
                    frequencies
                        .iter()
                        .map(move |frequency| of(position as f64 * frequency) as f32)
                })
                .collect();
            Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
        };
        Ok(Self {
            cosines: table(f64::cos)?,
            sines: table(f64::sin)?,
            pairing,
        })
    }

    /// Cosines, `[positions, head_dim / 2]`.
    pub fn cosines(&self) -> &Tensor {
        &self.cosines
    }

    /// Sines, `[positions, head_dim / 2]`.
    pub fn sines(&self) -> &Tensor {
        &self.sines
    }

    /// Which elements rotate together.
    pub fn pairing(&self) -> Pairing {
        self.pairing
    }
}
