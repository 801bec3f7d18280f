//! The log-probabilities of a position in DistillKit's layout.

use super::{
    bits::{packed_bytes, unpack},
    settings::{Float, Quantization, Special, Term},
};

/// Reads log-probabilities that were packed with the same settings.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    settings: Quantization,
    /// f_i(t) of each term i, for every rank t after the exact entries.
    terms: Vec<Vec<f64>>,
}

impl Decoder {
    pub(crate) fn new(settings: Quantization) -> Self {
        let count = settings.k - settings.exact_k;
        let terms = settings.terms().iter().map(|term| {
            let last = if settings.normalize_t {
                count.saturating_sub(1).max(1)
            } else {
                1
            };
            let ranks = (0..count).map(move |rank| rank as f64 / last as f64);
            let value = ranks.map(|t| term.at(t));
            // The writer computes the terms in the type of their coefficients.
            value.map(|value| match settings.term_dtype {
                Float::Float64 => value,
                _ => f64::from(value as f32),
            })
        });
        Self {
            terms: terms.map(Iterator::collect).collect(),
            settings,
        }
    }

    pub(crate) fn settings(&self) -> &Quantization {
        &self.settings
    }

    /// Replaces `into` by the `k` log-probabilities in `bytes`, which has [`Quantization::logprob_bytes`] bytes. They are
    /// computed in double precision and rounded once; DistillKit rounds sums to the type of the exact entries.
    pub(crate) fn decode(&self, bytes: &[u8], into: &mut Vec<f32>) {
        let Quantization {
            k,
            exact_k,
            exact_dtype,
            term_dtype,
            delta_encoding,
            ..
        } = self.settings;
        debug_assert_eq!(bytes.len(), self.settings.logprob_bytes());
        let (exact, rest) = bytes.split_at(exact_k * exact_dtype.bytes());
        let (coefficients, mut rest) = rest.split_at(self.terms.len() * term_dtype.bytes());
        let mut values: Vec<f64> = exact_dtype.numbers(exact).collect();
        values.resize(k, 0.0);
        for (coefficient, term) in term_dtype.numbers(coefficients).zip(&self.terms) {
            for (value, at) in values[exact_k..].iter_mut().zip(term) {
                *value += coefficient * at;
            }
        }
        let mut start = exact_k;
        for bin in &self.settings.residual_bins {
            let (scale, behind) = rest.split_at(bin.scale_dtype.bytes());
            let (levels, behind) = behind.split_at(packed_bytes(bin.num_elements, bin.element_bits));
            rest = behind;
            let scale = bin.scale_dtype.numbers(scale).next().unwrap_or(0.0);
            let levels = unpack(levels, bin.element_bits, bin.num_elements);
            for (value, level) in values[start..].iter_mut().zip(levels) {
                *value += scale * signed(level, bin.element_bits);
            }
            start += bin.num_elements;
        }
        if delta_encoding {
            let mut sum = 0.0;
            for value in &mut values {
                sum += *value;
                *value = sum;
            }
        }
        into.clear();
        into.extend(values.iter().map(|&value| value as f32));
    }
}

/// The number that a level stands for, in steps of its scale: −1 or 1 if it has one bit, and otherwise the level less half
/// of their number.
fn signed(level: u32, bits: u32) -> f64 {
    match bits {
        1 => 2.0 * f64::from(level) - 1.0,
        _ => f64::from(level) - f64::from(bits - 1).exp2(),
    }
}

impl Term {
    fn at(self, t: f64) -> f64 {
        match self {
            Self::Power(power) => t.powi(power.min(1 << 16) as i32),
            Self::Special(Special::Sqrt) => t.sqrt(),
            Self::Special(Special::Exp) => t.exp(),
        }
    }
}

impl Float {
    /// The little-endian numbers in `bytes`.
    fn numbers(self, bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
        bytes.chunks_exact(self.bytes()).map(move |bytes| match (self, bytes) {
            (Self::Float16, &[low, high]) => half(u16::from_le_bytes([low, high])),
            (Self::Bfloat16, &[low, high]) => f64::from(f32::from_le_bytes([0, 0, low, high])),
            (Self::Float32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            (Self::Float64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => f64::NAN,
        })
    }
}

/// A number of IEEE 754 with 16 bits: a sign, 5 bits of exponent and 10 of significand.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * (-24f64).exp2(),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * f64::from(exponent - 25).exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(settings: &str, bytes: &[u8]) -> Vec<f32> {
        let decoder = Decoder::new(Quantization::parse(settings).unwrap());
        assert_eq!(decoder.settings().logprob_bytes(), bytes.len());
        let mut values = vec![9.0];
        decoder.decode(bytes, &mut values);
        values
    }

    #[test]
    fn halves_have_their_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0xb555, -0.333_251_953_125),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x7bff, 65504.0),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn exact_entries_a_polynomial_and_bins_add_up_to_hand_computed_values() {
        let settings = "d: 100\nk: 5\nexact_k: 1\nexact_dtype: bfloat16\npolynomial_terms: [0, 2, sqrt]\nterm_dtype: float32\n\
                        delta_encoding: false\nresidual_bins:\n- scale_dtype: float16\n  element_bits: 3\n  num_elements: 2\n\
                        - scale_dtype: float32\n  element_bits: 1\n  num_elements: 1\n";
        let mut bytes = vec![0x00, 0xbf]; // −0.5 in bfloat16
        for coefficient in [-1.0f32, -0.25, 0.5] {
            bytes.extend(coefficient.to_le_bytes());
        }
        // A scale of 0.125, and the levels 1 and 7, which stand for −3 and 3.
        bytes.extend([0x00, 0x30, 0b0011_1100]);
        bytes.extend(0.75f32.to_le_bytes());
        bytes.push(0b1000_0000);
        // t = 0: −1 − 3/8; t = 1: −1 − ¼ + ½ + 3/8; t = 2: −1 − 1 + ½·√2 + ¾; t = 3: −1 − 9/4 + ½·√3.
        let expected = [
            -0.5,
            -1.375,
            -0.375,
            -1.25 + 0.5 * 2f64.sqrt(),
            -3.25 + 0.5 * 3f64.sqrt(),
        ];
        let found = decoded(settings, &bytes);
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-7, "{found} {expected}");
        }
        assert_eq!(found.len(), 5);
        // As steps from one entry to the next.
        let sums = decoded(&settings.replace("false", "true"), &bytes);
        assert_eq!(sums[..3], [-0.5, -1.875, -2.25]);
        // With t from 0 to 1 in thirds.
        let scaled = decoded(&format!("{settings}normalize_t: true\n"), &bytes);
        let expected = -1.0 - 0.25 / 9.0 + 0.5 * (1f64 / 3.0).sqrt() + 0.375;
        assert!((f64::from(scaled[2]) - expected).abs() < 1e-7, "{scaled:?} {expected}");
    }

    #[test]
    fn exact_values_of_every_type_come_back_as_they_are() {
        for (name, bytes, value) in [
            ("float16", vec![0x00, 0xb8], -0.5),
            ("bfloat16", vec![0x40, 0xbf], -0.75),
            ("float32", (-0.1f32).to_le_bytes().to_vec(), -0.1),
            ("float64", (-0.1f64).to_le_bytes().to_vec(), -0.1),
        ] {
            let settings = format!("d: 9\nk: 1\nexact_k: 1\nexact_dtype: {name}\nresidual_bins: []\n");
            assert_eq!(decoded(&settings, &bytes), [value]);
        }
    }
}
