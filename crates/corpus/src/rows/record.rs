//! A row of an Arrow batch as the fields that a line of JSON would have.
//!
//! Inside a structure, a null field counts as absent: all structures of a column have the same fields, so tables store
//! null for a field that a row does not have. What is not a number among floats counts as null, as pandas means it. A float is
//! written with the fewest digits that tell it from others of its type, a decimal with all its digits.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{
        DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
        Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use serde_json::{Map, Number, Value};

use crate::{RowProblem, RowRules, layout::Row};

/// Whether values of a column of that type can be written as JSON.
pub(super) fn is_readable(data_type: &DataType) -> bool {
    is_decimal(data_type) || is_readable_inside(data_type)
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..)
    )
}

/// Whether values of that type can be written as JSON inside of others.
fn is_readable_inside(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_readable_inside(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_readable_inside(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_readable_inside(field.data_type())),
        _ => false,
    }
}

/// The fields of the row at `index` of a batch whose columns are all readable.
///
/// # Errors
///
/// An infinite number.
pub(super) fn fields(batch: &RecordBatch, index: usize, rules: RowRules) -> Result<Row, RowProblem> {
    let mut row = Row::default();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name();
        if is_decimal(column.data_type()) && !column.is_null(index) {
            row.insert_number(name.clone(), &decimal(column, index));
            continue;
        }
        let value = value(column, index, rules).ok_or_else(|| RowProblem::Infinite { field: name.clone() })?;
        row.insert(name.clone(), value);
    }
    Ok(row)
}

/// A decimal with all digits of its scale.
fn decimal(array: &dyn Array, index: usize) -> String {
    match array.data_type() {
        DataType::Decimal32(..) => array.as_primitive::<Decimal32Type>().value_as_string(index),
        DataType::Decimal64(..) => array.as_primitive::<Decimal64Type>().value_as_string(index),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(index),
        _ => array.as_primitive::<Decimal256Type>().value_as_string(index),
    }
}

/// A float as JSON, which has neither infinities nor what is not a number; `None` for the former.
fn float(value: f64) -> Option<Value> {
    match Number::from_f64(value) {
        Some(number) => Some(Value::Number(number)),
        None if value.is_nan() => Some(Value::Null),
        None => None,
    }
}

/// The value at `index`; `None` if it holds an infinite number.
fn value(array: &dyn Array, index: usize, rules: RowRules) -> Option<Value> {
    if array.is_null(index) {
        return Some(Value::Null);
    }
    let list = |items: &dyn Array| -> Option<Vec<Value>> {
        let values = (0..items.len()).map(|index| value(items, index, rules));
        values.collect()
    };
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(index).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(index).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(index).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(index).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(index).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(index).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(index).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(index).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(index).into(),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(index);
            match rules {
                RowRules::First => f64::from(value).into(),
                // The number of the fewest digits, as a float of 64 bits prints it.
                _ if value.is_finite() => float(value.to_string().parse().ok()?)?,
                _ => float(f64::from(value))?,
            }
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(index);
            match rules {
                RowRules::First => value.into(),
                _ => float(value)?,
            }
        }
        DataType::Utf8 => array.as_string::<i32>().value(index).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(index).into(),
        DataType::Utf8View => array.as_string_view().value(index).into(),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = value(dictionary.keys(), index, rules)?.as_u64().map(|key| key as usize);
            let values = dictionary.values();
            match key {
                Some(key) if key < values.len() => value(values, key, rules)?,
                _ => Value::Null,
            }
        }
        DataType::List(_) => Value::Array(list(&array.as_list::<i32>().value(index))?),
        DataType::LargeList(_) => Value::Array(list(&array.as_list::<i64>().value(index))?),
        DataType::FixedSizeList(..) => Value::Array(list(&array.as_fixed_size_list().value(index))?),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let present = columns.filter(|(_, column)| !column.is_null(index));
            let object: Option<Map<_, _>> = present
                .map(|(field, column)| Some((field.name().clone(), value(column, index, rules)?)))
                .collect();
            object?.into()
        }
        // Only `DataType::Null` gets here: a table with columns of other types is refused when it is opened.
        _ => Value::Null,
    })
}
