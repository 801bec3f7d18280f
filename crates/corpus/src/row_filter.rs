//! `data.where`: conditions on a row's fields that decide whether the row is read.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::layout::Row;

/// Conditions on a row's fields, all of which must hold for the row to be read.
///
/// Written as a table from fields to the value that a row must have there, or to a list of such values. A field inside
/// another is named with dots (`metadata.source`). Numbers are compared by value. A field that is absent or null meets
/// no condition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub struct RowFilter(BTreeMap<String, Value>);

/// A condition that no row can meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRowFilter {
    /// The value is null, a structure or a nested list.
    #[error("`{field}` must be compared with text, a number, `true` or `false`, or with a list of these")]
    NotComparable {
        /// The field that the condition is on.
        field: String,
    },
    /// The list of values is empty.
    #[error("the list for `{field}` is empty: no row can match it")]
    NothingAccepted {
        /// The field that the condition is on.
        field: String,
    },
}

impl TryFrom<BTreeMap<String, Value>> for RowFilter {
    type Error = InvalidRowFilter;

    fn try_from(conditions: BTreeMap<String, Value>) -> Result<Self, InvalidRowFilter> {
        let comparable = |value: &Value| matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_));
        for (field, accepted) in &conditions {
            let field = || field.clone();
            match accepted {
                Value::Array(values) if values.is_empty() => {
                    return Err(InvalidRowFilter::NothingAccepted { field: field() });
                }
                Value::Array(values) if values.iter().all(comparable) => {}
                value if comparable(value) => {}
                _ => return Err(InvalidRowFilter::NotComparable { field: field() }),
            }
        }
        Ok(Self(conditions))
    }
}

/// A table from fields to a value or to a list of values.
impl JsonSchema for RowFilter {
    fn schema_name() -> Cow<'static, str> {
        "RowFilter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kinds = ["string", "number", "boolean"];
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    { "type": kinds },
                    { "type": "array", "items": { "type": kinds }, "minItems": 1 },
                ],
            },
        })
    }
}

impl From<RowFilter> for BTreeMap<String, Value> {
    fn from(filter: RowFilter) -> Self {
        filter.0
    }
}

impl RowFilter {
    /// Whether the row meets all conditions.
    pub(crate) fn accepts(&self, row: &Row) -> bool {
        self.0.iter().all(|(field, accepted)| {
            let found = find(row, field);
            found.is_some_and(|found| match accepted {
                Value::Array(values) => values.iter().any(|value| equal(value, found)),
                value => equal(value, found),
            })
        })
    }

    /// The outermost fields that the conditions may mean: each name in full, and cut at each of its dots.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.keys().flat_map(|field| {
            let outer = field.match_indices('.').map(|(dot, _)| &field[..dot]);
            outer.chain([field.as_str()])
        })
    }
}

/// The value at a path with dots. Names of fields may contain dots themselves.
fn find<'a>(row: &'a Row, path: &str) -> Option<&'a Value> {
    row.get(path)
        .or_else(|| dotted(path).find_map(|(outer, inner)| find_inside(row.get(outer)?, inner)))
}

fn find_inside<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    fields
        .get(path)
        .or_else(|| dotted(path).find_map(|(outer, inner)| find_inside(fields.get(outer)?, inner)))
}

/// The path in two parts, at each of its dots.
fn dotted(path: &str) -> impl Iterator<Item = (&str, &str)> {
    path.match_indices('.').map(|(dot, _)| (&path[..dot], &path[dot + 1..]))
}

fn equal(asked: &Value, found: &Value) -> bool {
    match (asked, found) {
        (Value::Number(asked), Value::Number(found)) => same_number(asked, found),
        _ => asked == found,
    }
}

/// Whether two numbers have the same value. Floats do not have all integers, so integers are compared as such.
fn same_number(one: &Number, other: &Number) -> bool {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        (Some(integer), None) => is_integer(other, integer),
        (None, Some(integer)) => is_integer(one, integer),
    }
}

/// Whether a float has the value of an integer of 64 bits.
fn is_integer(float: &Number, integer: i128) -> bool {
    float
        .as_f64()
        .is_some_and(|float| float.fract() == 0.0 && float.abs() < 1e20 && float as i128 == integer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layout::tests::row;

    fn filter(conditions: &Value) -> Result<RowFilter, String> {
        serde_json::from_value(conditions.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_condition_must_hold_and_any_value_of_a_list_will_do() {
        let row = row(
            r#"{"task_type": "verifiable_math", "large": 9007199254740993, "whole": 9007199254740992.0, "score": 1.0, "n": 3, "used": true, "none": null, "a.b": "dotted",
            "metadata": {"source": "s", "c.d": {"e": "deep"}}, "list": ["x"]}"#,
        );
        for (conditions, accepted) in [
            (json!({}), true),
            (json!({"task_type": "verifiable_math"}), true),
            (json!({"task_type": "code"}), false),
            (json!({"task_type": ["code", "verifiable_math"]}), true),
            (json!({"task_type": "verifiable_math", "used": false}), false),
            (json!({"score": 1, "n": 3.0, "used": true}), true),
            (
                json!({"large": 9_007_199_254_740_993_u64, "whole": 9_007_199_254_740_992_u64}),
                true,
            ),
            (json!({"large": 9_007_199_254_740_992_u64}), false),
            (json!({"large": 9_007_199_254_740_992.0}), false),
            (json!({"whole": 9_007_199_254_740_993_u64}), false),
            (json!({"n": "3"}), false),
            (json!({"absent": "x"}), false),
            (json!({"none": "null"}), false),
            (json!({"a.b": "dotted", "metadata.source": "s"}), true),
            (json!({"metadata.c.d.e": "deep"}), true),
            (json!({"metadata.c.d": "deep"}), false),
            (json!({"metadata.source.x": "s"}), false),
            (json!({"list": "x"}), false),
        ] {
            assert_eq!(filter(&conditions).unwrap().accepts(&row), accepted, "{conditions}");
        }
    }

    #[test]
    fn conditions_that_no_row_can_meet_are_refused() {
        for conditions in [json!({"a": null}), json!({"a": {"b": 1}}), json!({"a": [1, [2]]})] {
            let problem = filter(&conditions).unwrap_err();
            assert!(problem.starts_with("`a` must be compared with text"), "{problem}");
        }
        assert_eq!(
            filter(&json!({"a": []})).unwrap_err(),
            "the list for `a` is empty: no row can match it"
        );
    }

    #[test]
    fn a_filter_survives_being_stored_and_names_the_fields_it_needs() {
        let filter = filter(&json!({"b.c.d": [1, "x"], "a": true})).unwrap();
        let stored = serde_json::to_string(&filter).unwrap();
        assert_eq!(stored, r#"{"a":true,"b.c.d":[1,"x"]}"#);
        assert_eq!(serde_json::from_str::<RowFilter>(&stored).unwrap(), filter);
        assert_eq!(filter.fields().collect::<Vec<_>>(), ["a", "b", "b.c", "b.c.d"]);
    }
}
