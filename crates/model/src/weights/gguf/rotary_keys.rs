//! Rotary scaling in the metadata of a GGUF file, as llama.cpp reads it.
//!
//! Without a type the scaling is linear, and without a factor it changes nothing. An older key of the factor is
//! `rope.scale_linear`. A tensor may hold divisors of the frequencies, which apply beside a linear factor.

use candle_core::Device;

use super::architecture_keys::ArchitectureKeys;
use crate::{
    config::{
        keys::UNSUPPORTED,
        scaling::{RotaryScaling, yarn_attention_factor},
    },
    error::ModelError,
};

/// The tensor of rotary divisors.
const DIVISORS: &str = "rope_freqs.weight";

/// The keys that are read or that change nothing, without `rope.`.
const KNOWN: [&str; 13] = [
    "dimension_count",
    "freq_base",
    "scale_linear",
    "scaling.attn_factor",
    "scaling.factor",
    "scaling.finetuned",
    "scaling.original_context_length",
    "scaling.type",
    "scaling.yarn_attn_factor",
    "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
    "scaling.yarn_ext_factor",
    "scaling.yarn_log_multiplier",
];

/// Keys whose meaning differs between versions of llama.cpp or that this decoder does not compute, and the values at which they
/// change nothing. A negative number stands for the default.
const NEUTRAL: [(&str, &[f64]); 3] = [
    ("rope.scaling.yarn_attn_factor", &[1.0]),
    ("rope.scaling.yarn_ext_factor", &[1.0, -1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
];

/// A factor of queries and keys, which llama.cpp multiplies with that of the scaling.
const ATTENTION_FACTOR: &str = "rope.scaling.attn_factor";

impl ArchitectureKeys<'_> {
    /// How the rotary frequencies of a model with this context are scaled.
    ///
    /// # Errors
    ///
    /// If a key has a value that is not supported, or is not known.
    pub(super) fn rope_scaling(self, context: usize) -> Result<RotaryScaling, ModelError> {
        let of_parts = self.family.description().gguf_part_keys;
        let others = self.below("rope.").into_iter().filter(|key| !KNOWN.contains(key));
        let mut others = others.map(|key| format!("rope.{key}"));
        if let Some(other) = others.find(|key| !of_parts.contains(&key.as_str())) {
            return Err(self.refuse(&other, UNSUPPORTED));
        }
        for (suffix, neutral) in NEUTRAL {
            if self.float(suffix)?.is_some_and(|value| !neutral.contains(&value)) {
                return Err(self.refuse(suffix, UNSUPPORTED));
            }
        }
        let kind = self.text("rope.scaling.type")?.unwrap_or("linear");
        if kind != "yarn" && self.float(ATTENTION_FACTOR)?.is_some_and(|factor| factor != 1.0) {
            return Err(self.refuse(ATTENTION_FACTOR, "it is only supported with `yarn`"));
        }
        let factor = match self.float("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.float("rope.scale_linear")?,
        };
        // Zero stands for no factor.
        let factor = factor.filter(|&factor| factor != 0.0);
        match kind {
            "none" => self.divided(1.0),
            "linear" => self.divided(factor.unwrap_or(1.0)),
            "yarn" if self.file.has_tensor(DIVISORS) => {
                let expected = format!("`{DIVISORS}` is only supported without it");
                Err(self.refuse("rope.scaling.type", &expected))
            }
            "yarn" => self.yarn(context),
            _ => Err(self.refuse("rope.scaling.type", "only `none`, `linear` and `yarn` are supported")),
        }
    }

    /// Frequencies that are divided by `factor`, and by the divisors of the file if it has any.
    fn divided(self, factor: f64) -> Result<RotaryScaling, ModelError> {
        if !self.file.has_tensor(DIVISORS) {
            return Ok(if factor == 1.0 {
                RotaryScaling::Default
            } else {
                RotaryScaling::Linear { factor }
            });
        }
        let divisors = self.file.tensor(DIVISORS, &Device::Cpu)?;
        let divisors: Vec<f32> = divisors.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        Ok(RotaryScaling::Divisors {
            divisors: divisors.into_iter().map(|divisor| divisor * factor as f32).collect(),
        })
    }

    fn yarn(self, context: usize) -> Result<RotaryScaling, ModelError> {
        let Some(factor) = self.float("rope.scaling.factor")? else {
            return Err(self.refuse("rope.scaling.factor", "`yarn` needs it as a number"));
        };
        let original = self.optional_number("rope.scaling.original_context_length")?;
        Ok(RotaryScaling::Yarn {
            factor,
            original_max_position_embeddings: original.unwrap_or(context),
            attention_factor: yarn_attention_factor(factor) * self.float(ATTENTION_FACTOR)?.unwrap_or(1.0),
            beta_fast: self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            truncate: true,
        })
    }
}
