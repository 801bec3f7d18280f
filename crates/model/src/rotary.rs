//! The angles of rotary position embedding (arXiv 2104.09864), scaled as Llama 3.1 and YaRN (arXiv 2309.00071) do.

use std::{
    f64::consts::TAU,
    sync::{Arc, PoisonError, RwLock},
};

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::config::{DecoderConfig, RotaryScaling};

/// Which elements of a head form a pair that is rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Element i with element i + `head_dim`/2, as in Hugging Face weights.
    Halves,
    /// Element 2i with element 2i + 1, as in GGUF files of the Llama architecture.
    Neighbours,
}

/// Cosines and sines of the positions that were asked for so far, multiplied by what the scaling lengthens queries and keys
/// by. A configuration may claim any context; memory is taken for what is used of it.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    frequencies: Arc<[f64]>,
    length: f64,
    context: usize,
    pairing: Pairing,
    dtype: DType,
    device: Device,
    angles: Arc<RwLock<Angles>>,
}

/// Angles of the first positions.
#[derive(Clone, Debug)]
pub struct Angles {
    /// `[positions, head_dim / 2]`.
    pub cosines: Tensor,
    /// `[positions, head_dim / 2]`.
    pub sines: Tensor,
}

/// The rotary frequencies θ^(−2i/d), scaled as the configuration says; `head_dim`/2 of them.
pub(crate) fn frequencies(config: &DecoderConfig) -> Vec<f64> {
    let plain = |index: usize| config.rope_theta.powf(-2.0 * index as f64 / config.head_dim as f64);
    // What is kept of a frequency; the rest of it is divided by the factor.
    let interpolated = |kept: &dyn Fn(usize, f64) -> f64, factor: f64| -> Vec<f64> {
        (0..config.head_dim / 2)
            .map(|index| {
                let frequency = plain(index);
                let kept = kept(index, frequency);
                kept * frequency + (1.0 - kept) * frequency / factor
            })
            .collect()
    };
    match &config.rope_scaling {
        RotaryScaling::Default => (0..config.head_dim / 2).map(plain).collect(),
        RotaryScaling::Divisors { divisors } => divisors
            .iter()
            .enumerate()
            .map(|(index, divisor)| plain(index) / f64::from(*divisor))
            .collect(),
        RotaryScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let kept = |_, frequency: f64| {
                let turns = *original_max_position_embeddings as f64 * frequency / TAU;
                ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0)
            };
            interpolated(&kept, *factor)
        }
        RotaryScaling::Yarn {
            factor,
            original_max_position_embeddings,
            beta_fast,
            beta_slow,
            truncate,
            attention_factor: _,
        } => {
            // The (fractional) index whose frequency turns so many times in the context of pre-training.
            let index_of = |turns: f64| {
                let wavelengths = *original_max_position_embeddings as f64 / (turns * TAU);
                config.head_dim as f64 * wavelengths.ln() / (2.0 * config.rope_theta.ln())
            };
            let (mut first, mut last) = (index_of(*beta_fast), index_of(*beta_slow));
            if *truncate {
                (first, last) = (first.floor(), last.ceil());
            }
            (first, last) = (first.max(0.0), last.min((config.head_dim - 1) as f64));
            // The smallest range that transformers divides by.
            let range = if first == last { 0.001 } else { last - first };
            let kept = |index, _| 1.0 - ((index as f64 - first) / range).clamp(0.0, 1.0);
            interpolated(&kept, *factor)
        }
    }
}

/// Positions whose angles are made at once.
const FIRST_POSITIONS: usize = 512;

impl Angles {
    /// Those of the first `count` positions. They are computed in double precision and rounded once.
    fn new(frequencies: &[f64], length: f64, count: usize, dtype: DType, device: &Device) -> Result<Self> {
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = (0..count)
                .flat_map(|position| {
                    frequencies
                        .iter()
                        .map(move |frequency| (length * of(position as f64 * frequency)) as f32)
                })
                .collect();
            Tensor::from_vec(values, (count, frequencies.len()), device)?.to_dtype(dtype)
        };
        Ok(Self {
            cosines: table(f64::cos)?,
            sines: table(f64::sin)?,
        })
    }
}

impl RotaryTable {
    /// The table of a model.
    ///
    /// # Errors
    ///
    /// Where there is no memory for it on the device.
    pub fn new(config: &DecoderConfig, pairing: Pairing, dtype: DType, device: &Device) -> Result<Self> {
        let frequencies: Arc<[f64]> = frequencies(config).into();
        let length = match config.rope_scaling {
            RotaryScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        };
        let context = config.context();
        let angles = Angles::new(&frequencies, length, FIRST_POSITIONS.min(context), dtype, device)?;
        Ok(Self {
            frequencies,
            length,
            context,
            pairing,
            dtype,
            device: device.clone(),
            angles: Arc::new(RwLock::new(angles)),
        })
    }

    /// The angles of at least the first `positions` positions.
    ///
    /// # Errors
    ///
    /// Where the model does not know so many, or there is no memory for them on the device.
    pub fn reaching(&self, positions: usize) -> Result<Angles> {
        if positions > self.context {
            bail!(
                "position {} is beyond the model's context of {}",
                positions - 1,
                self.context
            );
        }
        let known = self.angles.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.cosines.dim(0)? >= positions {
            return Ok(known);
        }
        // Twice as many each time, so that a growing sequence does not make them anew at every step.
        let count = positions.next_power_of_two().min(self.context);
        let angles = Angles::new(&self.frequencies, self.length, count, self.dtype, &self.device)?;
        self.angles
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&angles);
        Ok(angles)
    }

    /// Which elements rotate together.
    pub fn pairing(&self) -> Pairing {
        self.pairing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_grows_to_what_is_asked_for_and_no_further_than_the_context() {
        let config = DecoderConfig {
            max_position_embeddings: 1 << 28,
            ..DecoderConfig::for_test(4)
        };
        let table = RotaryTable::new(&config, Pairing::Halves, DType::F32, &Device::Cpu).unwrap();
        let first: Vec<Vec<f32>> = table.reaching(3).unwrap().cosines.to_vec2().unwrap();
        assert_eq!(first.len(), 512);
        let more = table.clone().reaching(600).unwrap();
        assert_eq!(
            (more.cosines.dims(), more.sines.dims()),
            (&[1024, 2][..], &[1024, 2][..])
        );
        assert_eq!(more.cosines.to_vec2::<f32>().unwrap()[..512], first);
        assert_eq!(table.reaching(1).unwrap().cosines.dims(), [1024, 2]);
        assert!(table.reaching((1 << 28) + 1).is_err());
    }
}
