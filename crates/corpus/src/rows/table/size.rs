//! How many bytes the values of a table count for.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
};

use crate::bad_row::VALUE_BYTES;

/// The bytes of a batch: at least those of its rows together.
pub(super) fn batch_bytes(rows: &RecordBatch) -> u64 {
    rows.columns()
        .iter()
        .fold(0, |all, column| all.saturating_add(array_bytes(column)))
}

/// The bytes of a row. A value inside a list or structure counts at least [`VALUE_BYTES`].
pub(super) fn row_bytes(rows: &RecordBatch, index: usize) -> u64 {
    let columns = rows.columns().iter();
    columns
        .map(|column| value_bytes(column, index))
        .fold(0, u64::saturating_add)
}

/// The bytes of all values of an array.
fn array_bytes(array: &dyn Array) -> u64 {
    let inside = |items: &dyn Array| array_bytes(items).saturating_add(VALUE_BYTES * items.len() as u64);
    match array.data_type() {
        DataType::List(_) => inside(array.as_list::<i32>().values()),
        DataType::LargeList(_) => inside(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => inside(array.as_fixed_size_list().values()),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            columns.fold(0, |all, column| all.saturating_add(inside(column)))
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values();
            let bytes: Vec<u64> = (0..values.len()).map(|index| value_bytes(values, index)).collect();
            let keys = dictionary.normalized_keys().into_iter();
            keys.filter_map(|key| bytes.get(key))
                .fold(0, |all, bytes| all.saturating_add(*bytes))
        }
        DataType::Utf8View => array.as_string_view().lengths().map(u64::from).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or(0) as u64,
    }
}

/// The bytes of a value.
fn value_bytes(array: &dyn Array, index: usize) -> u64 {
    if array.is_null(index) {
        return 0;
    }
    let inside = |bytes: u64| bytes.max(VALUE_BYTES);
    let list = |items: &dyn Array| {
        let items = (0..items.len()).map(|index| inside(value_bytes(items, index)));
        items.fold(0, u64::saturating_add)
    };
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(index).len() as u64,
        DataType::LargeUtf8 => array.as_string::<i64>().value(index).len() as u64,
        DataType::Utf8View => array.as_string_view().value(index).len() as u64,
        DataType::List(_) => list(&array.as_list::<i32>().value(index)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(index)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(index)),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            let values = columns.map(|column| inside(value_bytes(column, index)));
            values.fold(0, u64::saturating_add)
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(index).copied();
            let values = dictionary.values();
            key.filter(|&key| key < values.len())
                .map_or(0, |key| value_bytes(values, key))
        }
        data_type => data_type.primitive_width().unwrap_or(1) as u64,
    }
}
