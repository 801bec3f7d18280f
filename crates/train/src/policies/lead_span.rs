//! `train.lead_span`: how many tokens of a sample are kept each time that the run meets it.

use std::{borrow::Cow, fmt};

use leadspan_sequence::LeadSpanProportion;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, value::MapAccessDeserializer},
    ser::SerializeMap as _,
};

use super::one_key::only;
use crate::order::draw;

/// Mixed into the seed, so that the draws are independent of the order of the samples.
const PURPOSE: u64 = u64::from_le_bytes(*b"leadspan");
/// How far the sum of a mixture's shares may be from 1: each share is rounded to a binary fraction.
const LARGEST_SUM_ERROR: f64 = 1e-9;

/// The lead span of each sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LeadSpan {
    /// `train.lead_span_proportion` of every sample.
    #[default]
    Constant,
    /// Proportions, each with the share of the samples that it has. They are drawn for each sample and epoch.
    Mixture(Vec<(LeadSpanProportion, f64)>),
    /// From the first proportion to the second, in a straight line over the samples of all epochs in their order.
    Growing(LeadSpanProportion, LeadSpanProportion),
    /// What this column of the data says, which is stored with each sample.
    Column(String),
}

/// A sample as a run meets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting {
    /// Its index in the prepared corpus.
    pub(crate) sample: u32,
    /// All of its tokens.
    pub(crate) tokens: usize,
    /// The stored number of tokens to keep.
    pub(crate) stored: Option<u32>,
    /// The epoch, counted from 0.
    pub(crate) epoch: usize,
    /// Its place among the samples of all epochs, counted from 0.
    pub(crate) place: u64,
    /// The number of places that the run takes. A run of so many steps may go beyond them.
    pub(crate) places: u64,
}

impl LeadSpan {
    /// How many tokens are kept. `constant` is `train.lead_span_proportion`.
    pub(crate) fn kept(&self, constant: LeadSpanProportion, seed: u64, of: Meeting) -> usize {
        match self {
            Self::Constant => constant.kept(of.tokens),
            Self::Mixture(parts) => drawn(parts, draw(seed ^ PURPOSE, of.epoch, of.sample)).kept(of.tokens),
            Self::Growing(from, to) => {
                LeadSpanProportion::on_the_way(*from, *to, of.place, of.places.saturating_sub(1)).kept(of.tokens)
            }
            // Without a stored number the run is refused before it begins.
            Self::Column(_) => of.stored.map_or(of.tokens, |kept| (kept as usize).min(of.tokens)),
        }
    }

    /// The longest proportion that occurs; `None` if the data says how much is kept.
    pub(crate) fn longest(&self, constant: LeadSpanProportion) -> Option<LeadSpanProportion> {
        match self {
            Self::Constant => Some(constant),
            Self::Mixture(parts) => parts.iter().map(|&(proportion, _)| proportion).max(),
            Self::Growing(_, to) => Some(*to),
            Self::Column(_) => None,
        }
    }

    /// What is wrong with it whatever the data is: what was found, and what is expected.
    pub(crate) fn problem(&self) -> Option<(String, &'static str)> {
        let found = self.to_string();
        match self {
            Self::Mixture(parts) if parts.is_empty() => Some((found, "a mixture of at least one proportion")),
            Self::Mixture(parts) if !parts.iter().all(|&(_, share)| share > 0.0 && share <= 1.0) => Some((
                found,
                "a mixture of pairs of a proportion and the share of the samples that it has, above 0 and at most 1",
            )),
            Self::Mixture(parts) => {
                let sum: f64 = parts.iter().map(|&(_, share)| share).sum();
                let is_one = (sum - 1.0).abs() <= LARGEST_SUM_ERROR;
                (!is_one).then(|| {
                    (
                        format!("{found}, whose shares sum to {sum}"),
                        "a mixture whose shares sum to 1",
                    )
                })
            }
            Self::Growing(from, to) if from > to => Some((found, "two proportions, the first at most the second")),
            Self::Column(name) if name.is_empty() => Some((found, "the name of a column")),
            _ => None,
        }
    }
}

/// The first part of a mixture with which the shares so far pass `unit`, a number from 0 to below 1.
fn drawn(parts: &[(LeadSpanProportion, f64)], unit: f64) -> LeadSpanProportion {
    let mut passed = 0.0;
    let found = parts.iter().find(|(_, share)| {
        passed += share;
        unit < passed
    });
    // Rounding may leave the sum just below 1.
    let found = found.or(parts.last());
    found.map_or(LeadSpanProportion::WHOLE, |&(proportion, _)| proportion)
}

/// As TOML.
impl fmt::Display for LeadSpan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => formatter.write_str("\"constant\""),
            Self::Mixture(parts) => {
                let parts: Vec<String> = parts
                    .iter()
                    .map(|(proportion, share)| format!("[{proportion}, {share:?}]"))
                    .collect();
                write!(formatter, "{{ mixture = [{}] }}", parts.join(", "))
            }
            Self::Growing(from, to) => write!(formatter, "{{ growing = [{from}, {to}] }}"),
            Self::Column(name) => write!(formatter, "{{ column = {name:?} }}"),
        }
    }
}

/// `"constant"`, or a table with one key.
impl JsonSchema for LeadSpan {
    fn schema_name() -> Cow<'static, str> {
        "LeadSpan".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let proportion = generator.subschema_for::<LeadSpanProportion>();
        let share = json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 });
        let table = |name: &str, value: Schema| {
            json_schema!({
                "type": "object", "properties": { (name): value }, "required": [name], "additionalProperties": false,
            })
        };
        let pair = json_schema!({
            "type": "array", "prefixItems": [proportion, share], "minItems": 2, "maxItems": 2,
        });
        json_schema!({
            "anyOf": [
                { "const": "constant" },
                table("mixture", json_schema!({ "type": "array", "items": pair, "minItems": 1 })),
                table("growing", json_schema!({ "type": "array", "items": proportion, "minItems": 2, "maxItems": 2 })),
                table("column", json_schema!({ "type": "string", "minLength": 1 })),
            ],
        })
    }
}

impl Serialize for LeadSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::Constant {
            return serializer.serialize_str("constant");
        }
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Constant => {}
            Self::Mixture(parts) => map.serialize_entry("mixture", parts)?,
            Self::Growing(from, to) => map.serialize_entry("growing", &[from, to])?,
            Self::Column(name) => map.serialize_entry("column", name)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for LeadSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            mixture: Option<Vec<(LeadSpanProportion, f64)>>,
            growing: Option<[LeadSpanProportion; 2]>,
            column: Option<String>,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = LeadSpan;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"constant\", or a table with `mixture`, `growing` or `column`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LeadSpan, E> {
                match text {
                    "constant" => Ok(LeadSpan::Constant),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LeadSpan, A::Error> {
                let Table {
                    mixture,
                    growing,
                    column,
                } = Table::deserialize(MapAccessDeserializer::new(map))?;
                only(
                    &["mixture", "growing", "column"],
                    [
                        mixture.map(LeadSpan::Mixture),
                        growing.map(|[from, to]| LeadSpan::Growing(from, to)),
                        column.map(LeadSpan::Column),
                    ],
                )
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proportion(text: &str) -> LeadSpanProportion {
        text.parse().unwrap()
    }

    fn of(json: &str) -> LeadSpan {
        serde_json::from_str(json).unwrap()
    }

    fn meeting(sample: u32, epoch: usize) -> Meeting {
        Meeting {
            sample,
            tokens: 100,
            stored: None,
            epoch,
            place: 0,
            places: 1,
        }
    }

    const MIXED: &str = r#"{ "mixture": [[0.33, 0.75], [1.0, 0.25]] }"#;

    #[test]
    fn a_mixture_takes_the_part_whose_share_the_number_falls_into() {
        let LeadSpan::Mixture(parts) = of(r#"{ "mixture": [[0.33, 0.5], [0.6, 0.25], [1.0, 0.25]] }"#) else {
            panic!("it is a mixture")
        };
        for (unit, expected) in [
            (0.0, "0.33"),
            (0.49, "0.33"),
            (0.5, "0.6"),
            (0.74, "0.6"),
            (0.75, "1"),
            (0.999, "1"),
        ] {
            assert_eq!(drawn(&parts, unit), proportion(expected), "{unit}");
        }
    }

    #[test]
    fn a_mixture_is_drawn_for_each_sample_and_epoch_by_the_seed() {
        let mixed = of(MIXED);
        let kept = |seed, epoch| -> Vec<usize> {
            let of = |sample| mixed.kept(LeadSpanProportion::WHOLE, seed, meeting(sample, epoch));
            (0..4000).map(of).collect()
        };
        let first = kept(7, 0);
        assert_eq!(first, kept(7, 0));
        assert_ne!(first, kept(8, 0));
        assert_ne!(first, kept(7, 1));
        // Four standard deviations of 4,000 draws are 110.
        for kept in [first, kept(7, 1)] {
            let short = kept.iter().filter(|&&kept| kept == 33).count();
            assert!(short.abs_diff(3000) < 110, "{short}");
            assert_eq!(short + kept.iter().filter(|&&kept| kept == 100).count(), 4000);
        }
    }

    #[test]
    fn a_lead_span_grows_in_a_straight_line_over_all_places() {
        let growing = of(r#"{ "growing": [0.1, 0.5] }"#);
        let kept = |place| {
            let at = Meeting {
                place,
                places: 5,
                ..meeting(3, 0)
            };
            growing.kept(LeadSpanProportion::WHOLE, 0, at)
        };
        // 100 tokens at 0.1, 0.2, 0.3, 0.4 and 0.5.
        assert_eq!([0, 1, 2, 3, 4].map(kept), [10, 20, 30, 40, 50]);
        assert_eq!(growing.longest(LeadSpanProportion::WHOLE), Some(proportion("0.5")));
        assert_eq!(growing.kept(LeadSpanProportion::WHOLE, 0, meeting(0, 0)), 10);
    }

    #[test]
    fn a_column_keeps_the_stored_number_and_no_more_than_there_is() {
        let column = of(r#"{ "column": "keep" }"#);
        let kept = |stored| {
            let at = Meeting {
                stored,
                ..meeting(0, 0)
            };
            column.kept(proportion("0.5"), 0, at)
        };
        assert_eq!([Some(7), Some(100), Some(1000)].map(kept), [7, 100, 100]);
        assert_eq!(column.longest(proportion("0.5")), None);
        assert_eq!(LeadSpan::Constant.kept(proportion("0.5"), 0, meeting(0, 0)), 50);
    }

    #[test]
    fn what_has_no_meaning_is_refused_by_name() {
        let problem = |json: &str| of(json).problem().unwrap();
        let (found, expected) = problem(r#"{ "mixture": [[0.33, 0.75], [1.0, 0.2]] }"#);
        assert_eq!(
            found,
            "{ mixture = [[0.33, 0.75], [1.0, 0.2]] }, whose shares sum to 0.95"
        );
        assert_eq!(expected, "a mixture whose shares sum to 1");
        for json in [
            r#"{ "mixture": [] }"#,
            r#"{ "mixture": [[0.5, 1.5], [0.2, -0.5]] }"#,
            r#"{ "mixture": [[0.5, 1.0], [0.2, 0.0]] }"#,
            r#"{ "growing": [0.5, 0.1] }"#,
            r#"{ "column": "" }"#,
        ] {
            problem(json);
        }
        // Thirds are rounded.
        let third = 1.0 / 3.0;
        let thirds = LeadSpan::Mixture(["0.1", "0.2", "0.3"].map(|text| (proportion(text), third)).to_vec());
        assert_eq!(thirds.problem(), None);
        let refused = |json: &str| serde_json::from_str::<LeadSpan>(json).unwrap_err().to_string();
        for (json, told) in [
            (
                r#"{ "growing": [0.1, 0.5], "column": "a" }"#,
                "`growing` and `column` are both set",
            ),
            ("{}", "it takes one of `mixture`, `growing`, `column`"),
            (r#"{ "mixtur": [] }"#, "unknown field `mixtur`"),
            (
                r#""half""#,
                "\"constant\", or a table with `mixture`, `growing` or `column`",
            ),
            (r#"{ "growing": [0.1, 1.5] }"#, "`1.5` is not a lead-span proportion"),
            (r#"{ "mixture": [[0, 1.0]] }"#, "`0` is not a lead-span proportion"),
            (r#"{ "growing": [0.1] }"#, "invalid length 1"),
        ] {
            let error = refused(json);
            assert!(error.contains(told), "{json}: {error}");
        }
    }

    #[test]
    fn it_is_stored_as_it_is_read() {
        for json in [
            r#""constant""#,
            MIXED,
            r#"{ "growing": [0.1, 0.5] }"#,
            r#"{ "column": "keep" }"#,
        ] {
            let stored = serde_json::to_string(&of(json)).unwrap();
            assert_eq!(of(&stored), of(json));
        }
        assert_eq!(of(MIXED).to_string(), "{ mixture = [[0.33, 0.75], [1.0, 0.25]] }");
    }
}
