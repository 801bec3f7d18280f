//! The lead-span proportion: an exact decimal in (0, 1], and how many tokens it keeps.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The maximum number of decimal places. More are refused, not rounded.
const MAX_DECIMALS: usize = 12;

/// The fraction p of every sequence that is kept, counted from its start.
///
/// It is the exact decimal from the input, not the nearest binary fraction, so that 0.29 of 100 tokens is 29.
///
/// ```
/// # use leadspan_sequence::LeadSpanProportion;
/// let proportion: LeadSpanProportion = "0.29".parse()?;
/// assert_eq!(proportion.kept(100), 29);
/// assert_eq!(proportion.kept(1), 1);
/// # Ok::<(), leadspan_sequence::InvalidProportion>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeadSpanProportion {
    /// p · 10^12; in 1..=10^12.
    units: u64,
}

/// An invalid proportion, with its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{given}` is not a lead-span proportion: it must be a decimal above 0 and at most 1, with at most {MAX_DECIMALS} decimals, such as `0.5`"
)]
pub struct InvalidProportion {
    /// The text.
    pub given: String,
}

impl LeadSpanProportion {
    const ONE: u64 = 10u64.pow(MAX_DECIMALS as u32);

    /// The whole sequence, p = 1.
    pub const WHOLE: Self = Self { units: Self::ONE };

    /// The number of tokens kept of a sequence of n = `tokens` tokens: max(1, ⌊n·p⌋), or 0 if it is empty.
    pub fn kept(self, tokens: usize) -> usize {
        let product = tokens as u128 * u128::from(self.units) / u128::from(Self::ONE);
        (product as usize).max(1).min(tokens)
    }

    /// The proportion at place `place` of `0..=last` on the way from `from` to `to`, which is not less:
    /// from + ⌊(to − from) · place / last⌋ in units of 10⁻¹², and `from` if `last` is 0.
    pub fn on_the_way(from: Self, to: Self, place: u64, last: u64) -> Self {
        let way = u128::from(to.units.saturating_sub(from.units));
        let done = way * u128::from(place.min(last)) / u128::from(last.max(1));
        Self {
            units: from.units + done as u64,
        }
    }

    /// The proportion as a floating-point number, for display and prediction only.
    pub fn as_f64(self) -> f64 {
        self.units as f64 / Self::ONE as f64
    }
}

impl FromStr for LeadSpanProportion {
    type Err = InvalidProportion;

    fn from_str(text: &str) -> Result<Self, InvalidProportion> {
        let invalid = || InvalidProportion { given: text.to_owned() };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let decimals_used = decimals.trim_end_matches('0');
        if (whole.is_empty() && decimals.is_empty())
            || !digits(whole)
            || !digits(decimals)
            || decimals_used.len() > MAX_DECIMALS
        {
            return Err(invalid());
        }
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        let fraction: u64 = format!("{decimals_used:0<MAX_DECIMALS$}")
            .parse()
            .map_err(|_| invalid())?;
        let units = whole
            .checked_mul(Self::ONE)
            .and_then(|units| units.checked_add(fraction))
            .ok_or_else(invalid)?;
        if units == 0 || units > Self::ONE {
            return Err(invalid());
        }
        Ok(Self { units })
    }
}

impl fmt::Display for LeadSpanProportion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::WHOLE {
            return formatter.write_str("1.0");
        }
        let decimals = format!("{:0MAX_DECIMALS$}", self.units);
        write!(formatter, "0.{}", decimals.trim_end_matches('0'))
    }
}

/// A number, or the same number as text.
impl JsonSchema for LeadSpanProportion {
    fn schema_name() -> Cow<'static, str> {
        "LeadSpanProportion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let last = MAX_DECIMALS - 1;
        json_schema!({
            "type": ["number", "string"],
            "exclusiveMinimum": 0,
            "maximum": 1,
            "pattern": format!(r"^(0*1(\.0*)?|0*\.[0-9]{{0,{last}}}[1-9]0*)$"),
        })
    }
}

impl Serialize for LeadSpanProportion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeadSpanProportion {
    /// Reads a number or a string. A number stands for the shortest decimal that denotes it, which is what the user wrote.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = LeadSpanProportion;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a lead-span proportion above 0 and at most 1, such as 0.5")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proportion(text: &str) -> LeadSpanProportion {
        text.parse().unwrap()
    }

    #[test]
    fn kept_tokens_follow_the_written_decimal() {
        // (p, n, max(1, ⌊n·p⌋)) worked out by hand; in binary floating point 0.29 · 100 is 28.999….
        for (p, n, kept) in [
            ("0.29", 100, 29),
            ("0.57", 100, 57),
            ("0.5", 101, 50),
            ("0.1", 9, 1),
            ("0.1", 10, 1),
            ("0.1", 20, 2),
            ("1", 7, 7),
            ("1.0", 7, 7),
            ("0.000000000001", 1_000_000, 1),
            ("0.999999999999", 1, 1),
            ("0.5", 0, 0),
        ] {
            assert_eq!(proportion(p).kept(n), kept, "{p} of {n}");
        }
    }

    #[test]
    fn the_way_from_one_proportion_to_another_is_a_line() {
        let (from, to) = (proportion("0.1"), proportion("0.5"));
        // 0.1 + 0.4 · place / 3, in twelve decimals.
        for (place, expected) in [(0, "0.1"), (1, "0.233333333333"), (2, "0.366666666666"), (3, "0.5")] {
            let found = LeadSpanProportion::on_the_way(from, to, place, 3);
            assert_eq!(found, proportion(expected), "{place}");
        }
        assert_eq!(LeadSpanProportion::on_the_way(from, to, 0, 0), from);
        assert_eq!(LeadSpanProportion::on_the_way(to, to, 5, 9), to);
    }

    #[test]
    fn numbers_outside_the_half_open_unit_interval_are_refused() {
        for given in [
            "0",
            "0.0",
            "1.5",
            "1.000000000001",
            "-0.5",
            "",
            ".",
            "1e-3",
            "half",
            "0.0000000000001",
            "NaN",
            "+1",
        ] {
            assert!(given.parse::<LeadSpanProportion>().is_err(), "{given}");
        }
    }

    #[test]
    fn the_text_form_is_canonical() {
        for (given, shown) in [
            ("0.50", "0.5"),
            (".25", "0.25"),
            ("1", "1.0"),
            ("1.", "1.0"),
            ("0.290", "0.29"),
        ] {
            assert_eq!(proportion(given).to_string(), shown);
        }
    }

    #[test]
    fn numbers_and_strings_are_read_alike() {
        let of = |json: &str| serde_json::from_str::<LeadSpanProportion>(json);
        assert_eq!(of("0.29").unwrap(), proportion("0.29"));
        assert_eq!(of("\"0.29\"").unwrap(), proportion("0.29"));
        assert_eq!(of("1").unwrap(), LeadSpanProportion::WHOLE);
        assert!(
            of("1.5")
                .unwrap_err()
                .to_string()
                .contains("`1.5` is not a lead-span proportion")
        );
    }

    fn any_proportion() -> impl Strategy<Value = LeadSpanProportion> {
        (1..=LeadSpanProportion::ONE).prop_map(|units| LeadSpanProportion { units })
    }

    proptest! {
        #[test]
        fn shorter_lead_spans_nest_in_longer_ones(a in any_proportion(), b in any_proportion(), n in 0usize..100_000) {
            let (shorter, longer) = if a <= b { (a, b) } else { (b, a) };
            prop_assert!(shorter.kept(n) <= longer.kept(n));
        }

        #[test]
        fn a_lead_span_is_never_empty_and_never_longer_than_its_sample(p in any_proportion(), n in 1usize..1_000_000) {
            let kept = p.kept(n);
            prop_assert!((1..=n).contains(&kept));
        }

        #[test]
        fn displayed_proportions_parse_back(p in any_proportion()) {
            prop_assert_eq!(proportion(&p.to_string()), p);
        }
    }
}
