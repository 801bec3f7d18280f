//! The rotary frequencies of a model, scaled linearly, as Llama 3.1 does it or by YaRN (arXiv 2309.00071).

use std::f64::consts::TAU;

use candle_core::{DType, Device, Result};
use leadspan_kernels::{Pairing, RotaryTable};

use crate::config::{DecoderConfig, scaling::RotaryScaling};

/// The rotary table of a model.
///
/// # Errors
///
/// If the device has no memory for it.
pub(crate) fn rotary_table(
    config: &DecoderConfig,
    pairing: Pairing,
    dtype: DType,
    device: &Device,
) -> Result<RotaryTable> {
    let length = match config.rope_scaling {
        RotaryScaling::Yarn { attention_factor, .. } => attention_factor,
        _ => 1.0,
    };
    RotaryTable::new(&frequencies(config), length, config.context(), pairing, dtype, device)
}

/// The `head_dim`/2 rotary frequencies θ^(−2i/d), scaled as the configuration says.
fn frequencies(config: &DecoderConfig) -> Vec<f64> {
    let plain = |index: usize| config.rope_theta.powf(-2.0 * index as f64 / config.head_dim as f64);
    // `kept` is the proportion of a frequency that is kept; the rest is divided by the factor.
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
        RotaryScaling::Linear { factor } => (0..config.head_dim / 2).map(|index| plain(index) / factor).collect(),
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
            // The (fractional) index of the frequency that makes `turns` turns in the context of pre-training.
            let index_of = |turns: f64| {
                let wavelengths = *original_max_position_embeddings as f64 / (turns * TAU);
                config.head_dim as f64 * wavelengths.ln() / (2.0 * config.rope_theta.ln())
            };
            let (mut first, mut last) = (index_of(*beta_fast), index_of(*beta_slow));
            if *truncate {
                (first, last) = (first.floor(), last.ceil());
            }
            (first, last) = (first.max(0.0), last.min((config.head_dim - 1) as f64));
            // Avoids a division by zero, as transformers does.
            let range = if first == last { 0.001 } else { last - first };
            let kept = |index, _| 1.0 - ((index as f64 - first) / range).clamp(0.0, 1.0);
            interpolated(&kept, *factor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_scaling_divides_every_frequency() {
        let mut config = DecoderConfig::for_test(4);
        assert_eq!(frequencies(&config), [1.0, 0.01]);
        config.rope_scaling = RotaryScaling::Linear { factor: 4.0 };
        assert_eq!(frequencies(&config), [0.25, 0.0025]);
    }
}
