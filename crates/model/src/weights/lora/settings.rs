//! The table `student.lora` of a pipeline.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// The adapters that a student learns instead of its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraSettings {
    /// Learn LoRA adapters of this rank r instead of the student's weights; the table needs `rank`, `alpha` and `targets`.
    #[schemars(range(min = 1))]
    pub rank: usize,
    /// The scale α of the adapters: what they add is multiplied by α / r.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
    /// The projections that get adapters: names such as `q_proj`, or `all-linear` for all of every layer.
    pub targets: LoraTargets,
    /// Multiply by α / √r instead of α / r; off if it is not set.
    #[serde(default)]
    pub use_rslora: bool,
    /// Export a whole student with the adapters merged into its weights, instead of an adapter; off if it is not set.
    #[serde(default)]
    pub merged: bool,
}

/// The projections that get adapters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "a list of names such as [\"q_proj\", \"v_proj\"], or \"all-linear\""
)]
pub enum LoraTargets {
    /// Those whose module is called so, or whose name ends so after a dot.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    Named(Vec<String>),
    /// Those of every layer.
    All(AllLinear),
}

/// The word for all projections of every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AllLinear {
    /// `all-linear`
    #[serde(rename = "all-linear")]
    Every,
}

/// The scales s of adapters that are possible: about the roots of the largest and of the smallest `f32`, so that s · x stays a
/// number above zero as long as x is between the two.
const SCALES: RangeInclusive<f64> = 1.0 / TWO_POW_64..=TWO_POW_64;
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

impl LoraSettings {
    /// Refuses values that no student of this hidden width could use.
    ///
    /// # Errors
    ///
    /// [`ModelError::Lora`] for the first value out of range.
    pub(crate) fn check(&self, hidden: usize) -> Result<(), ModelError> {
        // A wider adapter has more numbers than the weight that it stands for.
        if !(1..=hidden).contains(&self.rank) {
            let expected = format!("it must be from 1 to the student's hidden width, {hidden}");
            return Err(refusal("rank", &self.rank, expected));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(refusal("alpha", &self.alpha, "it must be a positive number".to_owned()));
        }
        if !SCALES.contains(&self.scale()) {
            let divisor = if self.use_rslora {
                "the root of the rank"
            } else {
                "the rank"
            };
            let expected = format!(
                "it must be from 2⁻⁶⁴ to 2⁶⁴ times {divisor}: otherwise products with their ratio leave the range of `f32`"
            );
            return Err(refusal("alpha", &self.alpha, expected));
        }
        Ok(())
    }

    /// s: what the product of the two matrices is multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// The refusal of a value of a key.
pub(super) fn refusal(key: &'static str, found: &dyn ToString, expected: String) -> ModelError {
    ModelError::Lora {
        key,
        found: found.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    fn settings(rank: usize, alpha: f64, use_rslora: bool) -> LoraSettings {
        LoraSettings {
            rank,
            alpha,
            targets: LoraTargets::All(AllLinear::Every),
            use_rslora,
            merged: false,
        }
    }

    #[test]
    fn the_scale_is_alpha_over_the_rank_or_over_its_root() {
        for (rank, alpha, plain, stabilised) in [(16, 32.0, 2.0, 8.0), (4, 6.0, 1.5, 3.0), (1, 0.5, 0.5, 0.5)] {
            assert_eq!(settings(rank, alpha, false).scale(), plain);
            assert_eq!(settings(rank, alpha, true).scale(), stabilised);
        }
    }

    #[test]
    fn ranks_and_scales_that_make_no_sense_are_refused_by_key() {
        // 4 · 2⁶⁴ is 7.38e19, and 4 / 2⁶⁴ is 2.17e-19; with the root of the rank it is half of that.
        for (alpha, use_rslora) in [
            (1e-3, false),
            (7.3e19, false),
            (2.2e-19, false),
            (3.6e19, true),
            (1.1e-19, true),
        ] {
            assert!(settings(4, alpha, use_rslora).check(24).is_ok(), "{alpha}");
        }
        assert!(settings(4, 3.7e19, true).check(24).is_err());
        for (rank, alpha, key) in [
            (0, 8.0, "rank"),
            (25, 8.0, "rank"),
            (usize::MAX, 8.0, "rank"),
            (4, 0.0, "alpha"),
            (4, -1.0, "alpha"),
            (4, f64::NAN, "alpha"),
            (4, f64::INFINITY, "alpha"),
            (4, 1e308, "alpha"),
            (4, 7.4e19, "alpha"),
            (4, 2e-19, "alpha"),
        ] {
            let error = settings(rank, alpha, false).check(24).unwrap_err();
            assert!(!error.is_unexpected());
            let message = error.to_string();
            assert!(message.starts_with(&format!("`student.lora.{key}` is `")), "{message}");
        }
    }

    #[test]
    fn targets_are_a_list_or_one_word() {
        let read = |text: &str| serde_json::from_str::<LoraTargets>(text);
        assert_eq!(
            read(r#"["q_proj"]"#).unwrap(),
            LoraTargets::Named(vec!["q_proj".to_owned()])
        );
        assert_eq!(read(r#""all-linear""#).unwrap(), LoraTargets::All(AllLinear::Every));
        for wrong in [r#""q_proj""#, "3", "[1]"] {
            let message = read(wrong).unwrap_err().to_string();
            assert!(message.contains("a list of names such as"), "{message}");
        }
    }
}
