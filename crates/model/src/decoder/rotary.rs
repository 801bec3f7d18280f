//! The rotary frequencies of a model, scaled linearly, as Llama 3.1 does it, by YaRN (arXiv 2309.00071) or by
//! `LongRoPE` (arXiv 2402.13753).

use std::f64::consts::TAU;

use candle_core::{Device, Result};
use leadspan_kernels::{Pairing, RotaryTable};

use crate::config::{DecoderConfig, parts::Rotation, scaling::RotaryScaling};

/// The rotary tables of a model.
#[derive(Clone, Debug)]
pub(crate) struct RotaryTables {
    global: RotaryTable,
    /// That of layers with a base of their own, in a model that has such layers.
    local: Option<RotaryTable>,
}

impl RotaryTables {
    /// The tables of a model.
    ///
    /// # Errors
    ///
    /// If the device has no memory for them.
    pub(crate) fn new(config: &DecoderConfig, pairing: Pairing, device: &Device) -> Result<Self> {
        let length = match config.rope_scaling {
            RotaryScaling::Yarn { attention_factor, .. } | RotaryScaling::LongRope { attention_factor, .. } => {
                attention_factor
            }
            _ => 1.0,
        };
        let table = |frequencies: &[f64], length: f64| -> Result<RotaryTable> {
            let table = RotaryTable::new(frequencies, length, config.context(), pairing, device)?;
            Ok(table.for_heads_of(config.head_dim))
        };
        let width = config.rotary_dim();
        let local = config.parts.local_rope_theta.map(|theta| {
            let frequencies: Vec<f64> = (0..width / 2).map(|index| frequency(theta, index, width)).collect();
            table(&frequencies, 1.0)
        });
        Ok(Self {
            global: table(&frequencies(config), length)?,
            local: local.transpose()?,
        })
    }

    /// The table of layers that rotate in this way; `None` if they do not.
    pub(crate) fn of(&self, rotation: Rotation) -> Option<&RotaryTable> {
        match rotation {
            Rotation::Global => Some(&self.global),
            Rotation::Local => self.local.as_ref(),
            Rotation::None => None,
        }
    }
}

/// θ^(−2i/d)
fn frequency(theta: f64, index: usize, width: usize) -> f64 {
    theta.powf(-2.0 * index as f64 / width as f64)
}

/// The d/2 rotary frequencies of heads of which d elements rotate, θ^(−2i/d), scaled as the configuration says.
fn frequencies(config: &DecoderConfig) -> Vec<f64> {
    let width = config.rotary_dim();
    let plain = |index: usize| frequency(config.rope_theta, index, width);
    // `kept` is the proportion of a frequency that is kept; the rest is divided by the factor.
    let interpolated = |kept: &dyn Fn(usize, f64) -> f64, factor: f64| -> Vec<f64> {
        (0..width / 2)
            .map(|index| {
                let frequency = plain(index);
                let kept = kept(index, frequency);
                kept * frequency + (1.0 - kept) * frequency / factor
            })
            .collect()
    };
    match &config.rope_scaling {
        RotaryScaling::Default => (0..width / 2).map(plain).collect(),
        RotaryScaling::Linear { factor } => (0..width / 2).map(|index| plain(index) / factor).collect(),
        RotaryScaling::LongRope { short_factor, .. } => {
            let divided = |(index, factor): (usize, &f64)| plain(index) / factor;
            short_factor.iter().enumerate().map(divided).collect()
        }
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
                width as f64 * wavelengths.ln() / (2.0 * config.rope_theta.ln())
            };
            let (mut first, mut last) = (index_of(*beta_fast), index_of(*beta_slow));
            if *truncate {
                (first, last) = (first.floor(), last.ceil());
            }
            (first, last) = (first.max(0.0), last.min((width - 1) as f64));
            // Avoids a division by zero, as transformers does.
            let range = if first == last { 0.001 } else { last - first };
            let kept = |index, _| 1.0 - ((index as f64 - first) / range).clamp(0.0, 1.0);
            interpolated(&kept, *factor)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::keys::Keys;

    /// The expected frequencies are those of `_compute_yarn_parameters` and `_compute_llama3_parameters` in transformers
    /// 5.24.0 for the same `config.json`, computed in double precision.
    #[test]
    fn the_context_of_pre_training_stands_in_the_scaling() {
        let base = json!({
            "model_type": "llama", "vocab_size": 8, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "head_dim": 8, "max_position_embeddings": 4096, "rope_theta": 1e4,
        });
        let yarn = json!({"rope_type": "yarn", "factor": 4.0});
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
        let with = |scaling: &Value, key: &str, value: Value| {
            let mut scaling = scaling.clone();
            scaling[key] = value;
            scaling
        };
        let context = "original_max_position_embeddings";
        let read = |key: &str, scaling: Value, beside: Option<usize>| {
            let mut value = base.clone();
            value[key] = scaling;
            if let Some(beside) = beside {
                value[context] = json!(beside);
            }
            let keys = Keys::new(Path::new("config.json"), value.as_object().unwrap());
            DecoderConfig::from_keys(keys).map(|config| frequencies(&config))
        };
        let of_1024 = [1.0, 0.075, 0.005, 0.000_25];
        let untruncated = [1.0, 0.085_398_636_634_604_79, 0.003_556_971_521_129_434_7, 0.000_25];
        let llama3_of_1024 = [1.0, 0.1, 0.003_086_760_967_011_274, 0.000_125];
        let in_1024 = |scaling: &Value| with(scaling, context, json!(1024));
        for (key, scaling, beside, expected) in [
            ("rope_scaling", in_1024(&yarn), None, of_1024),
            ("rope_parameters", in_1024(&yarn), Some(1024), of_1024),
            (
                "rope_scaling",
                with(&in_1024(&yarn), "factor", Value::Null),
                None,
                of_1024,
            ),
            ("rope_scaling", yarn.clone(), None, [1.0, 0.1, 0.006_25, 0.000_25]),
            (
                "rope_scaling",
                with(&in_1024(&yarn), "truncate", json!(false)),
                None,
                untruncated,
            ),
            (
                "rope_scaling",
                with(&in_1024(&yarn), "truncate", Value::Null),
                None,
                untruncated,
            ),
            ("rope_scaling", in_1024(&llama3), None, llama3_of_1024),
        ] {
            let found = read(key, scaling, beside).unwrap();
            let close = found
                .iter()
                .zip(expected)
                .all(|(one, other)| (one - other).abs() <= 1e-12 * other);
            assert!(close && found.len() == 4, "{key}: {found:?}");
        }
        // transformers 4 takes the value beside the scaling, and transformers 5 the other.
        for scaling in [yarn.clone(), with(&yarn, context, json!(4096)), llama3] {
            let error = read("rope_scaling", scaling, Some(1024)).unwrap_err().to_string();
            assert!(error.contains(context) && error.contains("1024"), "{error}");
        }
    }

    #[test]
    fn a_linear_scaling_divides_every_frequency() {
        let mut config = DecoderConfig::for_test(4);
        assert_eq!(frequencies(&config), [1.0, 0.01]);
        config.rope_scaling = RotaryScaling::Linear { factor: 4.0 };
        assert_eq!(frequencies(&config), [0.25, 0.0025]);
    }
}
