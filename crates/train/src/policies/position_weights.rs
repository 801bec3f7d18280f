//! `train.position_weights`: how much each learnt position of a sample weighs.
//!
//! Position j of the n supervised positions of a sample, counted from 0, lies at x = (j + ½)/n along the sample and has the form
//! u(x). If a choice leaves m of the positions, the weight of each is r = m · u / Σu over those that are left, so that the mean
//! weight of a sample is 1. Whatever averages the loss multiplies the position's own weight by r.

use std::{borrow::Cow, fmt};

use leadspan_sequence::Section;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, value::MapAccessDeserializer},
    ser::SerializeMap as _,
};

use super::one_key::only;

/// The largest rate of an exponential. The weights at the two ends of a sample then differ by e⁴⁰, and all are normal numbers
/// in single precision.
const LARGEST_RATE: f64 = 40.0;

/// The largest weight of an end or a section, and the inverse of the smallest of a section: about e⁴⁰, for the same reason.
const LARGEST_WEIGHT: f64 = 1e17;

/// The form of the weights along a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PositionWeights {
    /// u = 1.
    #[default]
    Flat,
    /// u = x.
    Rising,
    /// u = 1 − x.
    Falling,
    /// u = a + (b − a) · x.
    Linear(f64, f64),
    /// u = exp(λ · x).
    Exponential(f64),
    /// u is the weight of the section of the position's target.
    Sections {
        /// The weight in the prompt.
        prompt: f64,
        /// The weight in the chain of thought.
        chain_of_thought: f64,
        /// The weight in the answer.
        answer: f64,
    },
}

impl PositionWeights {
    /// u of position `place` of `places` positions of a sample, whose target is in `section`. An exponential is divided by its
    /// value at the end where it is larger, which changes no weight.
    pub(crate) fn form(self, place: usize, places: usize, section: Section) -> f64 {
        let x = (place as f64 + 0.5) / places as f64;
        match self {
            Self::Flat => 1.0,
            Self::Rising => x,
            Self::Falling => 1.0 - x,
            Self::Linear(first, last) => first + (last - first) * x,
            Self::Exponential(rate) => (rate * x - rate.max(0.0)).exp(),
            Self::Sections {
                prompt,
                chain_of_thought,
                answer,
            } => match section {
                Section::Prompt => prompt,
                Section::ChainOfThought => chain_of_thought,
                Section::Answer => answer,
            },
        }
    }

    /// What is wrong with it: what was found, and what is expected.
    pub(crate) fn problem(self) -> Option<(String, &'static str)> {
        let (is_right, expected) = match self {
            Self::Flat | Self::Rising | Self::Falling => return None,
            Self::Linear(first, last) => (
                [first, last].iter().all(|end| (0.0..=LARGEST_WEIGHT).contains(end))
                    && first.max(last) >= LARGEST_WEIGHT.recip(),
                "a line between two numbers from 0 to 1e17 of which the larger is at least 1e-17",
            ),
            Self::Exponential(rate) => (rate.abs() <= LARGEST_RATE, "an exponential with a rate from −40 to 40"),
            Self::Sections {
                prompt,
                chain_of_thought,
                answer,
            } => (
                [prompt, chain_of_thought, answer]
                    .iter()
                    .all(|weight| (LARGEST_WEIGHT.recip()..=LARGEST_WEIGHT).contains(weight)),
                "weights of sections from 1e-17 to 1e17; `train.supervised_sections` leaves a section out",
            ),
        };
        (!is_right).then(|| (self.to_string(), expected))
    }
}

/// Weights of mean 1 from the forms of the positions that are learnt, of which there are `learnt`.
pub(crate) fn of_mean_one(forms: &[f64], learnt: usize) -> impl Iterator<Item = f64> {
    let sum: f64 = forms.iter().sum();
    forms.iter().map(move |form| learnt as f64 * form / sum)
}

/// As TOML.
impl fmt::Display for PositionWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => formatter.write_str("\"flat\""),
            Self::Rising => formatter.write_str("\"rising\""),
            Self::Falling => formatter.write_str("\"falling\""),
            Self::Linear(first, last) => write!(formatter, "{{ linear = [{first:?}, {last:?}] }}"),
            Self::Exponential(rate) => write!(formatter, "{{ exponential = {rate:?} }}"),
            Self::Sections {
                prompt,
                chain_of_thought,
                answer,
            } => write!(
                formatter,
                "{{ prompt = {prompt:?}, chain_of_thought = {chain_of_thought:?}, answer = {answer:?} }}"
            ),
        }
    }
}

/// A word, or a table with a form or with weights of sections.
impl JsonSchema for PositionWeights {
    fn schema_name() -> Cow<'static, str> {
        "PositionWeights".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let positive = json_schema!({ "type": "number", "minimum": 1e-17, "maximum": LARGEST_WEIGHT });
        let end = json_schema!({ "type": "number", "minimum": 0, "maximum": LARGEST_WEIGHT });
        let ends = json_schema!({ "type": "array", "items": end, "minItems": 2, "maxItems": 2 });
        let rate = json_schema!({ "type": "number", "minimum": -LARGEST_RATE, "maximum": LARGEST_RATE });
        let table = |name: &str, value: Schema| {
            json_schema!({
                "type": "object", "properties": { (name): value }, "required": [name], "additionalProperties": false,
            })
        };
        json_schema!({
            "anyOf": [
                { "enum": ["flat", "rising", "falling"] },
                table("linear", ends),
                table("exponential", rate),
                {
                    "type": "object",
                    "properties": { "prompt": positive, "chain_of_thought": positive, "answer": positive },
                    "minProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Serialize for PositionWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match self {
            Self::Flat => return serializer.serialize_str("flat"),
            Self::Rising => return serializer.serialize_str("rising"),
            Self::Falling => return serializer.serialize_str("falling"),
            _ => serializer.serialize_map(None)?,
        };
        match self {
            Self::Flat | Self::Rising | Self::Falling => {}
            Self::Linear(first, last) => map.serialize_entry("linear", &[first, last])?,
            Self::Exponential(rate) => map.serialize_entry("exponential", rate)?,
            Self::Sections {
                prompt,
                chain_of_thought,
                answer,
            } => {
                map.serialize_entry("prompt", prompt)?;
                map.serialize_entry("chain_of_thought", chain_of_thought)?;
                map.serialize_entry("answer", answer)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for PositionWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            linear: Option<[f64; 2]>,
            exponential: Option<f64>,
            prompt: Option<f64>,
            chain_of_thought: Option<f64>,
            answer: Option<f64>,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = PositionWeights;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    "\"flat\", \"rising\", \"falling\", or a table with `linear`, `exponential` or weights of sections",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PositionWeights, E> {
                match text {
                    "flat" => Ok(PositionWeights::Flat),
                    "rising" => Ok(PositionWeights::Rising),
                    "falling" => Ok(PositionWeights::Falling),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PositionWeights, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let sections = [table.prompt, table.chain_of_thought, table.answer];
                // A section that is not named weighs 1.
                let [prompt, chain_of_thought, answer] = sections.map(|weight| weight.unwrap_or(1.0));
                let by_section = sections
                    .iter()
                    .any(Option::is_some)
                    .then_some(PositionWeights::Sections {
                        prompt,
                        chain_of_thought,
                        answer,
                    });
                only(
                    &["linear", "exponential", "prompt`, `chain_of_thought`, `answer"],
                    [
                        table.linear.map(|[first, last]| PositionWeights::Linear(first, last)),
                        table.exponential.map(PositionWeights::Exponential),
                        by_section,
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
    use Section::{Answer, ChainOfThought, Prompt};

    fn of(json: &str) -> PositionWeights {
        serde_json::from_str(json).unwrap()
    }

    fn weights(json: &str, sections: &[Section]) -> Vec<f64> {
        let forms: Vec<f64> = (sections.iter().enumerate())
            .map(|(place, &section)| of(json).form(place, sections.len(), section))
            .collect();
        of_mean_one(&forms, forms.len()).collect()
    }

    #[test]
    fn weights_are_those_worked_out_by_hand_and_have_the_mean_one() {
        let four = [Prompt, ChainOfThought, ChainOfThought, Answer];
        // x is 1/8, 3/8, 5/8, 7/8, of which the mean is 1/2.
        let cases: [(&str, &[Section], &[f64]); 8] = [
            (r#""flat""#, &four, &[1.0, 1.0, 1.0, 1.0]),
            (r#""rising""#, &four, &[0.25, 0.75, 1.25, 1.75]),
            (r#""falling""#, &four, &[1.75, 1.25, 0.75, 0.25]),
            // u is 1 + 2x at x = 1/4 and 3/4: 3/2 and 5/2, of mean 2.
            (r#"{ "linear": [1, 3] }"#, &four[..2], &[0.75, 1.25]),
            // exp(2 ln 3 · x) at x = 1/4 and 3/4 is √3 and 3√3.
            (r#"{ "exponential": 2.1972245773362196 }"#, &four[..2], &[0.5, 1.5]),
            (r#"{ "exponential": -2.1972245773362196 }"#, &four[..2], &[1.5, 0.5]),
            // 1, 1, 1 and 2, of mean 5/4.
            (
                r#"{ "answer": 2.0, "chain_of_thought": 1.0 }"#,
                &four,
                &[0.8, 0.8, 0.8, 1.6],
            ),
            (r#"{ "linear": [0, 1] }"#, &four[..1], &[1.0]),
        ];
        for (json, sections, expected) in cases {
            let found = weights(json, sections);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-15, "{json}: {found}");
            }
            assert_eq!(found.len(), expected.len());
        }
    }

    #[test]
    fn a_flat_weight_is_one_to_the_bit() {
        for count in [1, 3, 7, 1000] {
            let forms = vec![1.0; count];
            let mut flat = of_mean_one(&forms, count);
            assert!(flat.all(|weight| weight.to_bits() == 1f64.to_bits()));
        }
    }

    #[test]
    fn what_is_left_by_a_choice_has_the_mean_one_again() {
        // The last two of four rising positions: 5/8 and 7/8, of mean 3/4.
        let left: Vec<f64> = of_mean_one(&[0.625, 0.875], 2).collect();
        assert!((left[0] - 5.0 / 6.0).abs() < 1e-15 && (left[1] - 7.0 / 6.0).abs() < 1e-15);
    }

    #[test]
    fn weights_of_any_rate_are_finite() {
        for rate in [-40.0, 40.0] {
            for count in [1, 2, 5000] {
                let forms: Vec<f64> = (0..count)
                    .map(|place| PositionWeights::Exponential(rate).form(place, count, Prompt))
                    .collect();
                assert!(of_mean_one(&forms, count).all(|weight| weight.is_finite() && weight >= 0.0));
            }
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused_by_name() {
        for (weights, found) in [
            (PositionWeights::Linear(0.0, 0.0), "{ linear = [0.0, 0.0] }"),
            (PositionWeights::Linear(-1.0, 2.0), "{ linear = [-1.0, 2.0] }"),
            (PositionWeights::Linear(f64::NAN, 2.0), "{ linear = [NaN, 2.0] }"),
            (PositionWeights::Linear(1e308, 1e308), "{ linear = [1e308, 1e308] }"),
            (
                of(r#"{ "answer": 1e-50 }"#),
                "{ prompt = 1.0, chain_of_thought = 1.0, answer = 1e-50 }",
            ),
            (PositionWeights::Exponential(f64::INFINITY), "{ exponential = inf }"),
            (
                of(r#"{ "answer": 0 }"#),
                "{ prompt = 1.0, chain_of_thought = 1.0, answer = 0.0 }",
            ),
        ] {
            assert_eq!(weights.problem().unwrap().0, found);
        }
        assert_eq!(of(r#"{ "answer": 2 }"#).problem(), None);
        for (json, told) in [
            (r#"{ "linear": [0, 1], "answer": 2.0 }"#, "are both set"),
            (r#"{ "answr": 2.0 }"#, "unknown field `answr`"),
            (r#""steep""#, "\"flat\", \"rising\", \"falling\""),
            ("{}", "the table is empty"),
        ] {
            let error = serde_json::from_str::<PositionWeights>(json).unwrap_err().to_string();
            assert!(error.contains(told), "{json}: {error}");
        }
    }

    #[test]
    fn they_are_stored_as_they_are_read() {
        for json in [
            r#""flat""#,
            r#""rising""#,
            r#""falling""#,
            r#"{ "linear": [0.5, 2.0] }"#,
            r#"{ "exponential": -1.5 }"#,
            r#"{ "answer": 2.0 }"#,
        ] {
            let stored = serde_json::to_string(&of(json)).unwrap();
            assert_eq!(of(&stored), of(json));
        }
    }
}
