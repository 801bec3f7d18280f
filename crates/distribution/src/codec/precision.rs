//! Quantisation of log-probabilities to levels and back, with its error bounds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The precision of stored log-probabilities.
///
/// | | entries ℓ = log p | tail x = log(p_tail / (1 − p_tail)) | target, tail terms |
/// |---|---|---|---|
/// | `standard` | p^¼ in steps of 1/192 | steps of 1/128 | steps of 1/128 nat |
/// | `fine` | ℓ in steps of 1/64 nat | steps of 1/1024 | steps of 1/1024 nat |
/// | `exact` | f32 | f32 (of log p_tail) | f32 |
///
/// In `standard` and `fine`, decoded entries are rescaled to sum to 1 − p_tail. These bounds hold for every distribution
/// of K entries, in nats:
///
/// - `standard`: KL(stored outcomes ‖ decoded outcomes) ≤ 6e-5·√K (to leading order 8·δ²·Σ√p with |δ| ≤ 1/384 the error of
///   p^¼, and Σ√p ≤ √K), typically a tenth of that. A log-probability is off by 4·δ/p^¼ to leading order: 0.01 at p = 1,
///   0.06 at 1e-3, 0.33 at 1e-6. Tokens below 5e-11 are one level.
/// - `fine`: every log-probability above −1023 is off by at most 1/60, KL ≤ 4e-5. It suits losses that are sensitive to
///   rare tokens, such as reverse KL, and temperatures well above 1.
/// - `exact`: lossless, but negative zero becomes zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Small, and accurate enough for losses that weigh tokens by the teacher's probability.
    #[default]
    Standard,
    /// Every log-probability within 1/60 nat.
    Fine,
    /// As computed.
    Exact,
}

/// Steps of p^¼ between 0 and 1.
const ROOT_STEPS: u32 = 192;
/// Steps of `fine` levels in a nat.
const FINE_STEPS: f64 = 64.0;
/// The last `fine` level: −1024 nats.
const LAST_FINE_LEVEL: u32 = 1 << 16;

/// The meaning of levels.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    precision: Precision,
    /// Log-probability and probability of each level, before rescaling; empty if levels are exact.
    values: Vec<(f32, f64)>,
}

impl Precision {
    /// The name in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Fine => "fine",
            Self::Exact => "exact",
        }
    }

    /// Steps in a unit of tails, targets and tail terms.
    fn steps(self) -> f64 {
        if self == Self::Standard { 128.0 } else { 1024.0 }
    }

    /// The level of an entry.
    pub(super) fn level(self, logprob: f32) -> u32 {
        match self {
            Self::Standard => {
                let root = (f64::from(logprob) / 4.0).exp();
                ROOT_STEPS - ((root * f64::from(ROOT_STEPS)).round() as u32).min(ROOT_STEPS)
            }
            // The cast turns negative numbers and NaN into 0.
            Self::Fine => ((f64::from(-logprob) * FINE_STEPS).round() as u32).min(LAST_FINE_LEVEL),
            Self::Exact => descending_key(logprob),
        }
    }

    /// The code of the tail beside entries with these log-probabilities.
    pub(super) fn tail_code(self, tail_logprob: f32, logprobs: &[f32]) -> u32 {
        match self {
            Self::Exact => descending_key(tail_logprob),
            _ if tail_logprob == f32::NEG_INFINITY => 0,
            _ => 1 + zigzag((f64::from(tail_logprob) - log_sum_exp(logprobs)) * self.steps()),
        }
    }

    /// Log of the tail mass, and log of the entries' mass. The latter is unused if levels are exact.
    pub(super) fn tail_of(self, code: u32) -> (f32, f64) {
        match (self, code) {
            (Self::Exact, _) => (from_descending_key(code), 0.0),
            (_, 0) => (f32::NEG_INFINITY, 0.0),
            _ => {
                let log_odds = unzigzag(code - 1) / self.steps();
                (-log_one_plus_exp(-log_odds) as f32, -log_one_plus_exp(log_odds))
            }
        }
    }

    pub(super) fn target_code(self, logprob: f32) -> u32 {
        match self {
            Self::Exact => descending_key(logprob),
            _ => (f64::from(-logprob) * self.steps()).round() as u32,
        }
    }

    pub(super) fn target_of(self, code: u32) -> f32 {
        match self {
            Self::Exact => from_descending_key(code),
            _ => 0.0 - (f64::from(code) / self.steps()) as f32,
        }
    }

    /// The code of a tail term, which may lie on either side of 0.
    pub(super) fn term_code(self, term: f32) -> u32 {
        match self {
            Self::Exact => descending_key(term),
            _ if term == f32::NEG_INFINITY => 0,
            _ => 1 + zigzag(f64::from(term) * self.steps()),
        }
    }

    pub(super) fn term_of(self, code: u32) -> f32 {
        match (self, code) {
            (Self::Exact, _) => from_descending_key(code),
            (_, 0) => f32::NEG_INFINITY,
            _ => (unzigzag(code - 1) / self.steps()) as f32,
        }
    }
}

impl Levels {
    pub(super) fn new(precision: Precision) -> Self {
        let value = |logprob: f64| (logprob as f32, logprob.exp());
        let values = match precision {
            Precision::Standard => (0..=ROOT_STEPS)
                .map(|level| {
                    // A value that rounds to 0 lies below half a step.
                    let steps = f64::from(ROOT_STEPS - level).max(0.25);
                    value(4.0 * (steps / f64::from(ROOT_STEPS)).ln())
                })
                .collect(),
            Precision::Fine => (0..=LAST_FINE_LEVEL)
                .map(|level| value(-f64::from(level) / FINE_STEPS))
                .collect(),
            Precision::Exact => Vec::new(),
        };
        Self { precision, values }
    }

    /// Appends the log-probabilities of the ascending `levels`, rescaled to the mass exp(`log_mass`). `None` if a level
    /// does not exist.
    pub(super) fn append(&self, levels: &[u32], log_mass: f64, logprobs: &mut Vec<f32>) -> Option<()> {
        if self.precision == Precision::Exact {
            logprobs.extend(levels.iter().map(|&level| from_descending_key(level)));
            return Some(());
        }
        let Some(&last) = levels.last() else { return Some(()) };
        if last as usize >= self.values.len() {
            return None;
        }
        // Relative to the first, so that the sum cannot vanish.
        let first = f64::from(self.values[levels[0] as usize].0);
        let sum: f64 = if first > -600.0 {
            levels
                .iter()
                .map(|&level| self.values[level as usize].1)
                .sum::<f64>()
                .ln()
        } else {
            let relative = |&level: &u32| (f64::from(self.values[level as usize].0) - first).exp();
            first + levels.iter().map(relative).sum::<f64>().ln()
        };
        let shift = log_mass - sum;
        let rescaled = |&level: &u32| (f64::from(self.values[level as usize].0) + shift).min(0.0) as f32;
        logprobs.extend(levels.iter().map(rescaled));
        Some(())
    }
}

/// log Σ exp of f32 values in f64; −∞ if there are none.
fn log_sum_exp(logprobs: &[f32]) -> f64 {
    let max = logprobs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let sum: f64 = logprobs.iter().map(|&logprob| f64::from(logprob - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// log(1 + exp(x)) without overflow.
fn log_one_plus_exp(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The nearest integer, with 0, −1, 1, −2, … as 0, 1, 2, 3, …; at most 2^30, which infinity becomes too.
fn zigzag(value: f64) -> u32 {
    let rounded = value.round().clamp(-f64::from(1 << 29), f64::from(1 << 29)) as i32;
    ((rounded << 1) ^ (rounded >> 31)) as u32
}

fn unzigzag(code: u32) -> f64 {
    f64::from((code >> 1) as i32 ^ -((code & 1) as i32))
}

/// Maps floats to integers in descending order; the mapping can be inverted.
fn descending_key(value: f32) -> u32 {
    // Adding zero makes negative zero positive.
    let bits = (-(value + 0.0)).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_descending_key(key: u32) -> f32 {
    let bits = if key >> 31 == 1 { key & !(1 << 31) } else { !key };
    -f32::from_bits(bits) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_table() {
        // (precision, p, level) by hand: ¼-th roots ½ and ⅛ are 96 and 24 steps; log ½ is 44.36 steps of 1/64.
        for (precision, logprob, level) in [
            (Precision::Standard, 0f32, 0),
            (Precision::Standard, (1f32 / 16.0).ln(), 96),
            (Precision::Standard, (1f32 / 4096.0).ln(), 168),
            (Precision::Standard, -60.0, 192),
            (Precision::Standard, 1e-7, 0),
            (Precision::Fine, 0.0, 0),
            (Precision::Fine, 0.5f32.ln(), 44),
            (Precision::Fine, -2e4, 1 << 16),
            (Precision::Fine, 1e-7, 0),
        ] {
            assert_eq!(precision.level(logprob), level, "{precision:?} {logprob}");
        }
    }

    #[test]
    fn tails_are_stored_as_log_odds() {
        // Tail ¼ beside entries of ¾: log odds −1.0986, −140.6 steps of 1/128.
        let code = Precision::Standard.tail_code(0.25f32.ln(), &[0.5f32.ln(), 0.25f32.ln()]);
        assert_eq!(code, 1 + 2 * 141 - 1);
        let (tail, entries) = Precision::Standard.tail_of(code);
        assert!((f64::from(tail).exp() + entries.exp() - 1.0).abs() < 1e-7);
        assert!((tail.exp() - 0.25).abs() < 0.001);
        assert_eq!(Precision::Fine.tail_code(f32::NEG_INFINITY, &[0.0]), 0);
        assert_eq!(Precision::Fine.tail_of(0), (f32::NEG_INFINITY, 0.0));
        // Without entries the tail is everything.
        let (tail, _) = Precision::Standard.tail_of(Precision::Standard.tail_code(0.0, &[]));
        assert_eq!(tail, 0.0);
    }

    #[test]
    fn targets_and_tail_terms_come_back_within_half_a_step() {
        for value in [0f32, -0.001, -0.7, -13.37, -2e4] {
            for (precision, bound) in [(Precision::Standard, 1.0 / 256.0), (Precision::Fine, 1.0 / 2048.0)] {
                let slack = bound + value.abs() * 1e-7;
                assert!((precision.target_of(precision.target_code(value)) - value).abs() <= slack);
                assert!((precision.term_of(precision.term_code(value)) - value).abs() <= slack);
                assert!((precision.term_of(precision.term_code(-value)) + value).abs() <= slack);
            }
        }
        assert_eq!(
            Precision::Standard.term_of(Precision::Standard.term_code(f32::NEG_INFINITY)),
            f32::NEG_INFINITY
        );
    }

    #[test]
    fn exact_keys_descend_and_come_back() {
        let values = [
            f32::INFINITY,
            1e-6,
            f32::MIN_POSITIVE,
            0.0,
            -1e-45,
            -1e-6,
            -0.7,
            -30.0,
            f32::MIN,
            f32::NEG_INFINITY,
        ];
        assert!(values.is_sorted_by_key(|&value| descending_key(value)));
        for value in values {
            assert_eq!(from_descending_key(descending_key(value)).to_bits(), value.to_bits());
        }
        assert_eq!(from_descending_key(descending_key(-0.0)).to_bits(), 0);
    }
}
