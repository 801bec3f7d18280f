//! How many samples are held out: a share or a count, depending on how the number is written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many samples are held out.
///
/// Written as one number: an integer is a count, a number with a fraction below 1 is a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValidationSize {
    /// This fraction of the samples, in 0..1; each sample is held out or not by its id alone.
    Share(f64),
    /// Exactly this many samples.
    Count(usize),
}

impl Default for ValidationSize {
    fn default() -> Self {
        Self::Count(0)
    }
}

/// A number that is neither a share nor a count.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{given}` is not a validation size: it must be a share below 1 such as `0.05`, a count such as `500`, or `0`")]
pub struct InvalidValidationSize {
    /// The number that was given.
    pub given: f64,
}

impl ValidationSize {
    /// A share of the samples.
    ///
    /// # Errors
    ///
    /// If it is not in 0..1.
    pub fn share(share: f64) -> Result<Self, InvalidValidationSize> {
        if (0.0..1.0).contains(&share) {
            Ok(Self::Share(share))
        } else {
            Err(InvalidValidationSize { given: share })
        }
    }

    /// How many of `samples` were to be held out, if `held_out` is not that number: copies are held out together, and a share is
    /// met by chance. Of a share, four standard deviations do not count, unless nothing is held out.
    pub(crate) fn unmet(self, samples: usize, held_out: u64) -> Option<u64> {
        match self {
            Self::Count(count) => (count as u64 != held_out).then_some(count as u64),
            Self::Share(share) => {
                let asked = share * samples as f64;
                let by_chance = 4.0 * (asked * (1.0 - share)).sqrt();
                let is_met = (held_out as f64 - asked).abs() <= by_chance && (held_out > 0 || asked < 1.0);
                (!is_met).then_some(asked.round() as u64)
            }
        }
    }
}

/// An integer or a number with a fraction.
impl JsonSchema for ValidationSize {
    fn schema_name() -> Cow<'static, str> {
        "ValidationSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "number", "minimum": 0, "exclusiveMaximum": 1 },
            ],
        })
    }
}

impl Serialize for ValidationSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Share(share) => serializer.serialize_f64(share),
            Self::Count(count) => serializer.serialize_u64(count as u64),
        }
    }
}

impl<'de> Deserialize<'de> for ValidationSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ValidationSize;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a share below 1 such as 0.05, a count such as 500, or 0")
            }

            fn visit_f64<E: de::Error>(self, share: f64) -> Result<ValidationSize, E> {
                ValidationSize::share(share).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<ValidationSize, E> {
                usize::try_from(count).map(ValidationSize::Count).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<ValidationSize, E> {
                let given = InvalidValidationSize { given: count as f64 };
                usize::try_from(count)
                    .map(ValidationSize::Count)
                    .map_err(|_| E::custom(given))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_a_count_and_a_fraction_is_a_share() {
        let read = |json: &str| serde_json::from_str::<ValidationSize>(json);
        assert_eq!(read("500").unwrap(), ValidationSize::Count(500));
        assert_eq!(read("0").unwrap(), ValidationSize::Count(0));
        assert_eq!(read("1").unwrap(), ValidationSize::Count(1));
        assert_eq!(read("0.05").unwrap(), ValidationSize::Share(0.05));
        assert_eq!(read("0.0").unwrap(), ValidationSize::Share(0.0));
        for wrong in ["1.0", "1.5", "-0.1", "-3", "\"0.5\"", "true"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(ValidationSize::share(f64::NAN).is_err());
    }

    #[test]
    fn what_is_not_held_out_as_asked_is_known_beyond_chance() {
        let (count, share) = (ValidationSize::Count, ValidationSize::Share);
        assert_eq!((count(5).unmet(10, 5), count(0).unmet(10, 0)), (None, None));
        assert_eq!((count(5).unmet(10, 3), count(5).unmet(10, 0)), (Some(5), Some(5)));
        // 100 with a standard deviation of 9.5.
        assert_eq!((share(0.1).unmet(1000, 63), share(0.1).unmet(1000, 137)), (None, None));
        assert_eq!(
            (share(0.1).unmet(1000, 61), share(0.1).unmet(1000, 139)),
            (Some(100), Some(100))
        );
        // By chance nothing may be held out, which is to be known all the same.
        assert_eq!((share(0.1).unmet(9, 0), share(0.1).unmet(12, 0)), (None, Some(1)));
        assert_eq!(share(0.0).unmet(1000, 0), None);
    }
}
