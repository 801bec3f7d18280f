//! The filters `sort`, `min` and `max`, which compare only what Python compares.
//!
//! The engine has an order for all values. Python refuses to compare a number with a text, none with anything, and maps.

use minijinja::{
    Environment, Error, State, Value, filters,
    value::{Kwargs, Rest, ValueKind},
};

use super::arguments::{bound, invalid};

/// How deep lists in lists are looked at.
const DEPTH: usize = 8;

/// Replaces the filters.
pub(super) fn add_filters(environment: &mut Environment) {
    let sort = |state: &mut State, value: &Value, positional: Rest<Value>, named: Kwargs| {
        let names = ["reverse", "case_sensitive", "attribute"];
        let given = bound("sort", names, &positional, Some(&named))?;
        called(state, "sort", value, names.into_iter().zip(given))
    };
    environment.add_filter("sort", sort);
    for name in ["min", "max"] {
        let choose = move |state: &mut State, value: &Value, positional: Rest<Value>, named: Kwargs| {
            let names = ["case_sensitive", "attribute"];
            let given = bound(name, names, &positional, Some(&named))?;
            called(state, name, value, names.into_iter().zip(given))
        };
        environment.add_filter(name, choose);
    }
}

/// The result of a filter of the engine, if Python compares the values.
fn called<'a>(
    state: &mut State,
    name: &str,
    value: &Value,
    given: impl Iterator<Item = (&'a str, Option<Value>)>,
) -> Result<Value, Error> {
    let filter = match name {
        "sort" => Value::from_function(filters::sort),
        "min" => Value::from_function(filters::min),
        _ => Value::from_function(filters::max),
    };
    let given: Vec<(&str, Value)> = given
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_none())?)))
        .collect();
    let attribute = given.iter().find(|(name, _)| *name == "attribute");
    let attribute = attribute.map(|(_, attribute)| attribute.to_string());
    let found = filter.call(state, &[value.clone(), Value::from(Kwargs::from_iter(given))])?;
    check(state, name, value, &found, attribute.as_deref())?;
    Ok(found)
}

/// Checks that neighbours in the sorted list, or the chosen item and all others, can be compared.
fn check(state: &mut State, filter: &str, all: &Value, found: &Value, attribute: Option<&str>) -> Result<(), Error> {
    let sorts = filter == "sort";
    let attributes = match attribute {
        Some(several) if sorts => several.split(',').map(|one| Some(one.trim().to_owned())).collect(),
        one => vec![one.map(str::to_owned)],
    };
    let pairs: Vec<(Value, Value)> = if sorts {
        let sorted: Vec<Value> = found.try_iter()?.collect();
        sorted
            .windows(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect()
    } else {
        let others = all.try_iter()?.collect::<Vec<Value>>();
        let is_alone = others.len() < 2;
        let pairs = others.into_iter().map(|other| (found.clone(), other));
        pairs.filter(|_| !is_alone).collect()
    };
    for (one, other) in pairs {
        state.consume_fuel(1)?;
        let mut keys = Vec::new();
        for attribute in &attributes {
            keys.push((
                key(state, &one, attribute.as_deref())?,
                key(state, &other, attribute.as_deref())?,
            ));
        }
        // Jinja2 sorts by lists of keys, so that equal keys are not compared.
        let differing = keys.into_iter().find(|(one, other)| !sorts || one != other);
        if differing.is_some_and(|(one, other)| !comparable(&one, &other, DEPTH)) {
            let problem = format!("`{filter}` cannot compare {} with {}", one.kind(), other.kind());
            return Err(invalid(problem));
        }
    }
    Ok(())
}

/// The value, or the attribute of it by which values are compared.
fn key(state: &mut State, value: &Value, attribute: Option<&str>) -> Result<Value, Error> {
    let Some(attribute) = attribute else {
        return Ok(value.clone());
    };
    let attribute = Value::from(Kwargs::from_iter([("attribute", Value::from(attribute))]));
    let found = Value::from_function(filters::map).call(state, &[Value::from(vec![value.clone()]), attribute])?;
    Ok(found.try_iter()?.next().unwrap_or_default())
}

/// Whether Python compares the values with `<`.
fn comparable(one: &Value, other: &Value, depth: usize) -> bool {
    match (one.kind(), other.kind()) {
        (ValueKind::Number | ValueKind::Bool, ValueKind::Number | ValueKind::Bool)
        | (ValueKind::String, ValueKind::String) => true,
        (ValueKind::Seq | ValueKind::Iterable, ValueKind::Seq | ValueKind::Iterable) => {
            let items = |list: &Value| list.try_iter().map(Iterator::collect::<Vec<Value>>);
            match (depth.checked_sub(1), items(one), items(other)) {
                (None, ..) => true,
                (Some(depth), Ok(ones), Ok(others)) => {
                    // The first items that differ decide.
                    let differing = ones.iter().zip(&others).find(|(one, other)| one != other);
                    one.is_tuple() == other.is_tuple()
                        && differing.is_none_or(|(one, other)| comparable(one, other, depth))
                }
                _ => false,
            }
        }
        _ => false,
    }
}
