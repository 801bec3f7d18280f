//! The settings of DistillKit's layout, as `compression_config.yaml` states them.

use serde::{Deserialize, Serialize};

use super::{bits::packed_bytes, yaml};

/// The most entries of a position that are read. Captures have at most a few hundred.
const MOST: usize = 1 << 16;

/// The most terms of a polynomial that are read. A reader keeps a value of each term for each entry.
const MOST_TERMS: usize = 32;

/// The largest vocabulary that is read.
const VOCABULARY: u32 = 1 << 24;

/// How the numbers of a position are packed. The fields have DistillKit's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quantization {
    /// The size of the vocabulary, which says how many bits an id has.
    pub(crate) d: u32,
    /// The number of entries of a position.
    pub(crate) k: usize,
    /// The number of entries whose values are stored as they are.
    pub(crate) exact_k: usize,
    #[serde(default = "single")]
    pub(crate) exact_dtype: Float,
    #[serde(default)]
    pub(crate) polynomial_terms: Option<Vec<Term>>,
    #[serde(default = "single")]
    pub(crate) term_dtype: Float,
    pub(crate) residual_bins: Vec<Bin>,
    #[serde(default = "delta")]
    pub(crate) delta_encoding: bool,
    /// How the values were rounded. It does not matter to a reader.
    #[serde(default)]
    pub(crate) error_diffusion: bool,
    #[serde(default)]
    pub(crate) normalize_t: bool,
}

/// The type of a stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Float {
    Float16,
    Bfloat16,
    Float32,
    Float64,
}

/// A function of the rank t after the exact entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Term {
    /// tⁿ.
    Power(u32),
    Special(Special),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Special {
    /// √t.
    Sqrt,
    /// exp(t).
    Exp,
}

/// Consecutive values stored as levels of one scale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bin {
    pub(crate) scale_dtype: Float,
    pub(crate) element_bits: u32,
    pub(crate) num_elements: usize,
}

/// Why settings cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongSettings(String);

fn single() -> Float {
    Float::Float32
}

/// DistillKit's default.
fn delta() -> bool {
    true
}

impl Quantization {
    /// Settings that store `entries` values of a position as they are, in single precision.
    pub(crate) fn lossless(entries: usize, vocabulary: u32) -> Self {
        Self {
            d: vocabulary,
            k: entries,
            exact_k: entries,
            exact_dtype: Float::Float32,
            polynomial_terms: None,
            term_dtype: Float::Float32,
            residual_bins: Vec::new(),
            delta_encoding: false,
            error_diffusion: false,
            normalize_t: false,
        }
    }

    /// Reads and checks the text of `compression_config.yaml`.
    ///
    /// # Errors
    ///
    /// The first line, key or value that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, WrongSettings> {
        let value = yaml::parse(text).map_err(WrongSettings)?;
        if value.get("polynomial_degree").is_some() {
            let problem = "it is of the older layout with the columns `packed_indices`, `exact_values` and `coeffs`";
            return Err(WrongSettings(problem.to_owned()));
        }
        if !value.is_object() {
            return Err(WrongSettings("it has no keys such as `k` and `exact_k`".to_owned()));
        }
        let settings = Self::deserialize(value).map_err(|error| WrongSettings(error.to_string()))?;
        settings.check().map_err(WrongSettings)?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        let Self { d, k, exact_k, .. } = *self;
        if !(1..=VOCABULARY).contains(&d) {
            return Err(format!("`d` is {d}, but it must be from 1 to {VOCABULARY}"));
        }
        if k == 0 || k > MOST || k > d as usize {
            return Err(format!("`k` is {k}, but it must be from 1 to {}", MOST.min(d as usize)));
        }
        if exact_k > k {
            return Err(format!("`exact_k` is {exact_k}, but `k` is {k}"));
        }
        let terms = self.terms().len();
        if terms > MOST_TERMS {
            return Err(format!(
                "`polynomial_terms` has {terms} terms, but it must have at most {MOST_TERMS}"
            ));
        }
        if exact_k < k && terms == 0 && self.residual_bins.is_empty() {
            return Err(format!(
                "of {k} entries {exact_k} are exact, and nothing says what the others are"
            ));
        }
        // The terms themselves would have to be rounded as a device rounds them.
        if terms > 0 && !matches!(self.term_dtype, Float::Float32 | Float::Float64) {
            return Err("`term_dtype` is of 16 bits, but only `float32` and `float64` are read".to_owned());
        }
        if let Some(bin) = self
            .residual_bins
            .iter()
            .find(|bin| !(1..=32).contains(&bin.element_bits))
        {
            return Err(format!(
                "`element_bits` is {}, but it must be from 1 to 32",
                bin.element_bits
            ));
        }
        let mut room = k - exact_k;
        for Bin { num_elements, .. } in &self.residual_bins {
            room = room.checked_sub(*num_elements).ok_or_else(|| {
                format!(
                    "`residual_bins` have more elements than the {} entries that are not exact",
                    k - exact_k
                )
            })?;
        }
        Ok(())
    }

    /// The terms of the polynomial; none if there is no polynomial.
    pub(crate) fn terms(&self) -> &[Term] {
        self.polynomial_terms.as_deref().unwrap_or_default()
    }

    /// The bits of an id: ⌈log₂ d⌉.
    pub(crate) fn id_bits(&self) -> u32 {
        32 - (self.d - 1).leading_zeros()
    }

    /// The bytes of a position's ids.
    pub(crate) fn id_bytes(&self) -> usize {
        packed_bytes(self.k, self.id_bits())
    }

    /// The bytes of a position's log-probabilities.
    pub(crate) fn logprob_bytes(&self) -> usize {
        let bins = self.residual_bins.iter();
        let bins = bins.map(|bin| bin.scale_dtype.bytes() + packed_bytes(bin.num_elements, bin.element_bits));
        self.exact_k * self.exact_dtype.bytes() + self.terms().len() * self.term_dtype.bytes() + bins.sum::<usize>()
    }

    /// By how much the probabilities of a position may exceed one because of rounding.
    pub(crate) fn excess(&self) -> f64 {
        let is_fitted = self.exact_k < self.k;
        match self.exact_dtype {
            Float::Float32 | Float::Float64 if !is_fitted => 1e-3,
            _ => 0.1,
        }
    }

    /// The text of `compression_config.yaml`.
    pub(crate) fn to_yaml(&self) -> String {
        let value = serde_json::to_value(self).expect("numbers and names always serialize");
        let mut text = String::new();
        for (key, value) in value.as_object().into_iter().flatten() {
            // A list without elements: those that are written have none.
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.extend([key, ": ", &written, "\n"]);
        }
        text
    }
}

impl Float {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Float16 | Self::Bfloat16 => 2,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings that DistillKit's page recommends.
    const RECOMMENDED: &str = "d: 49152\ndelta_encoding: false\nerror_diffusion: false\n\
        exact_dtype: bfloat16\nexact_k: 16\nk: 32\nnormalize_t: false\npolynomial_terms:\n- 0\n- 1\n- 2\n- 3\n- 4\n- sqrt\n\
        residual_bins: []\nterm_dtype: float32\n";

    #[test]
    fn sizes_follow_from_the_settings() {
        let recommended = Quantization::parse(RECOMMENDED).unwrap();
        // 16 numbers of 2 bytes and 6 of 4; 32 ids of 16 bits.
        assert_eq!((recommended.logprob_bytes(), recommended.id_bytes()), (56, 64));
        let binned = "d: 49152\nk: 32\nexact_k: 8\nexact_dtype: float16\npolynomial_terms: [0, 1, 2]\nresidual_bins:\n\
                      - {}\n";
        let bin = "scale_dtype: float16\n  element_bits: 6\n  num_elements: 12\n\
                   - scale_dtype: float16\n  element_bits: 3\n  num_elements: 12";
        let binned = Quantization::parse(&binned.replace("{}", bin)).unwrap();
        // 16, 12, and 2 + 9 and 2 + ⌈36/8⌉ bytes.
        assert_eq!((binned.logprob_bytes(), binned.delta_encoding), (46, true));
        for (d, bits) in [(1, 0), (2, 1), (3, 2), (131_072, 17), (131_073, 18), (151_669, 18)] {
            assert_eq!(Quantization::lossless(1, d).id_bits(), bits);
        }
    }

    #[test]
    fn written_settings_are_read_again() {
        let settings = Quantization::lossless(64, 151_669);
        assert_eq!(Quantization::parse(&settings.to_yaml()).unwrap(), settings);
    }

    #[test]
    fn settings_that_cannot_be_read_right_are_refused_by_name() {
        for (from, to, said) in [
            ("d: 49152", "d: 0", "`d` is 0"),
            ("k: 32\n", "k: 0\n", "`k` is 0"),
            ("exact_k: 16", "exact_k: 33", "`exact_k` is 33"),
            ("term_dtype: float32", "term_dtype: bfloat16", "`term_dtype`"),
            ("exact_dtype: bfloat16", "exact_dtype: float8", "float8"),
            ("sqrt", "log", "did not match"),
            ("normalize_t", "normalise", "unknown field `normalise`"),
            (
                "- sqrt\n",
                "- sqrt\n".repeat(28).as_str(),
                "`polynomial_terms` has 33 terms, but it must have at most 32",
            ),
            ("residual_bins: []\n", "", "missing field `residual_bins`"),
            ("residual_bins: []", "polynomial_degree: 4", "older layout"),
            (
                "residual_bins: []",
                "residual_bins:\n- scale_dtype: float32\n  element_bits: 64\n  num_elements: 1",
                "`element_bits` is 64",
            ),
            (
                "residual_bins: []",
                "residual_bins:\n- scale_dtype: float32\n  element_bits: 8\n  num_elements: 17",
                "more elements than the 16 entries",
            ),
        ] {
            let error = Quantization::parse(&RECOMMENDED.replace(from, to))
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{to}: {error}");
        }
        let error = Quantization::parse("").unwrap_err().to_string();
        assert!(error.contains("no keys"), "{error}");
    }
}
