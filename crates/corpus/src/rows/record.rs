//! A row of an Arrow batch as the fields that a line of JSON would have.
//!
//! Inside a structure, a null field counts as absent: all structures of a column have the same fields, so tables store
//! null for a field that a row does not have.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{
        DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use serde_json::{Map, Value};

use crate::layout::Row;

/// Whether values of that type can be written as JSON.
pub(super) fn is_readable(data_type: &DataType) -> bool {
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
        DataType::Dictionary(_, values) => is_readable(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_readable(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_readable(field.data_type())),
        _ => false,
    }
}

/// The fields of the row at `index` of a batch whose columns are all readable.
pub(super) fn fields(batch: &RecordBatch, index: usize) -> Row {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    columns
        .map(|(field, column)| (field.name().clone(), value(column, index)))
        .collect()
}

fn value(array: &dyn Array, index: usize) -> Value {
    if array.is_null(index) {
        return Value::Null;
    }
    let list = |items: &dyn Array| (0..items.len()).map(|index| value(items, index)).collect();
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(index).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(index).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(index).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(index).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(index).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(index).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(index).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(index).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(index).into(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(index).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(index).into(),
        DataType::Utf8 => array.as_string::<i32>().value(index).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(index).into(),
        DataType::Utf8View => array.as_string_view().value(index).into(),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = value(dictionary.keys(), index).as_u64().map(|key| key as usize);
            let values = dictionary.values();
            match key {
                Some(key) if key < values.len() => value(values, key),
                _ => Value::Null,
            }
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(index)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(index)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(index)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let present = columns.filter(|(_, column)| !column.is_null(index));
            let object: Map<_, _> = present
                .map(|(field, column)| (field.name().clone(), value(column, index)))
                .collect();
            object.into()
        }
        // Only `DataType::Null` gets here: a table with columns of other types is refused when it is opened.
        _ => Value::Null,
    }
}
