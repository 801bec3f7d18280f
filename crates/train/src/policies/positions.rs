//! `train.positions`: which of the supervised positions of a sample are learnt.
//!
//! Of n positions, the max(1, ⌊share · n⌋) with the highest measure are learnt. Of equal measures, the lower position comes
//! first. The teacher's entropy is known before the student runs, so only the rows of chosen positions go through its head. The
//! student's entropy and the divergence are known only after its forward pass, for which all rows go through the head.

use std::{borrow::Cow, fmt};

use leadspan_sequence::LeadSpanProportion;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, value::MapAccessDeserializer},
    ser::SerializeMap as _,
};

use super::{measure::Measure, one_key::only};

/// Which positions are learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Positions {
    /// All.
    #[default]
    All,
    /// This share of each sample's, with the highest entropy of the stored distribution.
    TeacherEntropy(LeadSpanProportion),
    /// This share of each sample's, with the highest entropy of the student's distribution.
    StudentEntropy(LeadSpanProportion),
    /// This share of each sample's, with the largest divergence of the student from the teacher.
    Disagreement(LeadSpanProportion),
}

impl Positions {
    /// How many of `supervised` positions of a sample are learnt.
    pub(crate) fn learnt(self, supervised: usize) -> usize {
        match self {
            Self::All => supervised,
            Self::TeacherEntropy(share) | Self::StudentEntropy(share) | Self::Disagreement(share) => {
                share.kept(supervised)
            }
        }
    }

    /// Whether the teacher's entropy decides.
    pub(crate) fn are_chosen_by_teacher(self) -> bool {
        matches!(self, Self::TeacherEntropy(_))
    }

    /// What decides after the student's forward pass, if anything does.
    pub(crate) fn measure(self) -> Option<Measure> {
        match self {
            Self::All | Self::TeacherEntropy(_) => None,
            Self::StudentEntropy(_) => Some(Measure::StudentEntropy),
            Self::Disagreement(_) => Some(Measure::Disagreement),
        }
    }

    /// Whether the choice needs the teacher's distributions.
    pub(crate) fn need_teacher(self) -> bool {
        matches!(self, Self::TeacherEntropy(_) | Self::Disagreement(_))
    }

    /// The key and the share; `None` if all are learnt.
    fn key_and_share(self) -> Option<(&'static str, LeadSpanProportion)> {
        match self {
            Self::All => None,
            Self::TeacherEntropy(share) => Some(("teacher_entropy", share)),
            Self::StudentEntropy(share) => Some(("student_entropy", share)),
            Self::Disagreement(share) => Some(("disagreement", share)),
        }
    }
}

/// The indices of the `count` highest measures, ascending; of equal ones, the lower index comes first.
pub(crate) fn highest(measures: &[f64], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..measures.len()).collect();
    // Both zeros are equal. What is not a number is chosen, and the loss then says so.
    let key = |place: usize| match measures[place] {
        measure if measure.is_nan() => f64::INFINITY,
        measure => measure + 0.0,
    };
    // This sort keeps the order of equals.
    places.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    places.truncate(count);
    places.sort_unstable();
    places
}

/// As TOML.
impl fmt::Display for Positions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key_and_share() {
            None => formatter.write_str("\"all\""),
            Some((key, share)) => write!(formatter, "{{ {key} = {share} }}"),
        }
    }
}

/// `"all"`, or a table with one key.
impl JsonSchema for Positions {
    fn schema_name() -> Cow<'static, str> {
        "Positions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let share = json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 });
        let table = |name: &str| {
            json_schema!({
                "type": "object", "properties": { (name): share }, "required": [name], "additionalProperties": false,
            })
        };
        json_schema!({
            "anyOf": [
                { "const": "all" }, table("teacher_entropy"), table("student_entropy"), table("disagreement"),
            ],
        })
    }
}

impl Serialize for Positions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((key, share)) = self.key_and_share() else {
            return serializer.serialize_str("all");
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &share.as_f64())?;
        map.end()
    }
}

/// A share as it was written.
struct Share(LeadSpanProportion);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = f64::deserialize(deserializer)?;
        // A number stands for the shortest decimal that denotes it.
        given.to_string().parse().map(Self).map_err(|_| {
            de::Error::custom(format!(
                "`{given}` is not a share of the positions: it must be a decimal above 0 and at most 1, such as `0.5`"
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Positions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            teacher_entropy: Option<Share>,
            student_entropy: Option<Share>,
            disagreement: Option<Share>,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Positions;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"all\", or a table with `teacher_entropy`, `student_entropy` or `disagreement`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Positions, E> {
                match text {
                    "all" => Ok(Positions::All),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Positions, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                only(
                    &["teacher_entropy", "student_entropy", "disagreement"],
                    [
                        table.teacher_entropy.map(|share| Positions::TeacherEntropy(share.0)),
                        table.student_entropy.map(|share| Positions::StudentEntropy(share.0)),
                        table.disagreement.map(|share| Positions::Disagreement(share.0)),
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

    fn of(json: &str) -> Positions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_highest_are_chosen_and_of_equal_ones_the_lower_position() {
        let measures = [0.5, 2.0, 0.5, 0.0, 2.0, 0.5];
        for (count, chosen) in [
            (1, vec![1]),
            (2, vec![1, 4]),
            (3, vec![0, 1, 4]),
            (4, vec![0, 1, 2, 4]),
            (6, vec![0, 1, 2, 3, 4, 5]),
        ] {
            assert_eq!(highest(&measures, count), chosen, "{count}");
        }
        // Rounding may leave an entropy just below 0, and 0 has two signs.
        assert_eq!(highest(&[-1e-17, -0.0, 0.0, -2e-17], 3), [0, 1, 2]);
        assert_eq!(highest(&[0.0, -0.0], 1), [0]);
        assert_eq!(highest(&[-0.0, 0.0], 1), [0]);
        assert_eq!(highest(&[1.0, f64::NAN, f64::INFINITY, 3.0], 2), [1, 2]);
        assert!(highest(&[], 0).is_empty());
    }

    #[test]
    fn a_share_is_rounded_down_and_leaves_at_least_one() {
        // In binary floating point, 0.29 · 100 is 28.999….
        for (share, supervised, learnt) in [
            (0.29, 100, 29),
            (0.5, 5, 2),
            (0.2, 4, 1),
            (0.01, 3, 1),
            (1.0, 7, 7),
            (0.5, 0, 0),
        ] {
            let json = format!(r#"{{ "student_entropy": {share} }}"#);
            assert_eq!(of(&json).learnt(supervised), learnt, "{share} of {supervised}");
        }
        assert_eq!(Positions::All.learnt(9), 9);
    }

    #[test]
    fn what_has_no_meaning_is_refused_by_name() {
        for (json, told) in [
            (r#"{ "teacher_entropy": 0 }"#, "`0` is not a share of the positions"),
            (r#"{ "teacher_entropy": 1.5 }"#, "`1.5` is not a share of the positions"),
            (r#"{ "disagreement": -0.5 }"#, "`-0.5` is not a share"),
            (
                r#"{ "disagreement": 0.5, "teacher_entropy": 0.5 }"#,
                "`teacher_entropy` and `disagreement` are both set",
            ),
            (r#"{ "entropy": 0.5 }"#, "unknown field `entropy`"),
            (r#""some""#, "\"all\", or a table"),
            ("{}", "the table is empty"),
        ] {
            let error = serde_json::from_str::<Positions>(json).unwrap_err().to_string();
            assert!(error.contains(told), "{json}: {error}");
        }
    }

    #[test]
    fn they_are_stored_as_they_are_read() {
        for json in [
            r#""all""#,
            r#"{ "teacher_entropy": 0.5 }"#,
            r#"{ "student_entropy": 0.29 }"#,
            r#"{ "disagreement": 1.0 }"#,
        ] {
            let stored = serde_json::to_string(&of(json)).unwrap();
            assert_eq!(of(&stored), of(json));
        }
        assert_eq!(of(r#"{ "disagreement": 0.2 }"#).to_string(), "{ disagreement = 0.2 }");
    }
}
