//! Parts of format 2: one Parquet table, which is read into memory. This program no longer writes them.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
};
use leadspan_parquet_guard::{check_footer, check_pages};
use leadspan_sequence::{SectionBounds, Split};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{
    columns::{Columns, ColumnsBuilder},
    placement::UnitPlacement,
    sample_ref::SampleRef,
};
use crate::{CacheError, hashing::Region, mapping, parquet_files};

/// The number of rows that are decoded at a time.
const BATCH_SAMPLES: usize = 1024;

/// The columns of a table of format 2.
fn old_schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        required("sample_id", DataType::Utf8),
        required("split", DataType::Utf8),
        required("tokens", DataType::List(parquet_files::list_item(DataType::UInt32))),
        required("prompt_end", DataType::UInt32),
        required("chain_of_thought_end", DataType::UInt32),
        required("work_unit", DataType::UInt32),
        required("row_hash", DataType::FixedSizeBinary(32)),
    ]))
}

/// Reads a table of format 2 into memory and adds its samples to `units`.
///
/// # Errors
///
/// [`CacheError::WrongSize`], [`CacheError::Damaged`] or [`CacheError::Inconsistent`] if it is not the table that was
/// written; [`CacheError::Io`] if it cannot be mapped.
pub(super) fn read_table(path: &Path, region: &Region, units: &mut UnitPlacement) -> Result<Columns, CacheError> {
    let inconsistent = |problem| CacheError::Inconsistent {
        path: path.to_owned(),
        problem,
    };
    let table = mapping::map(path)?;
    let found = table.len() as u64;
    if found != region.bytes {
        return Err(CacheError::WrongSize {
            path: path.to_owned(),
            found,
            expected: region.bytes,
        });
    }
    if !region.matches(&table) {
        return Err(CacheError::Damaged {
            path: path.to_owned(),
            part: "contents".to_owned(),
        });
    }
    let reader = parquet_files::guarded(path, || {
        check_footer(&table)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(table.clone())?;
        check_pages(&table, reader.metadata(), |_, _| true)?;
        Ok(reader)
    })?;
    if reader.schema().fields() != old_schema().fields() {
        return Err(inconsistent("its columns are not those of a prepared corpus".into()));
    }
    let mut columns = ColumnsBuilder::default();
    let mut batches = parquet_files::guarded(path, || reader.with_batch_size(BATCH_SAMPLES).build())?;
    while let Some(batch) = parquet_files::guarded(path, || Ok(batches.next().transpose()?))? {
        add_batch(&mut columns, &batch, units).map_err(inconsistent)?;
    }
    Ok(columns.finish())
}

/// Adds the rows of a batch of the table.
fn add_batch(columns: &mut ColumnsBuilder, batch: &RecordBatch, units: &mut UnitPlacement) -> Result<(), String> {
    let numbers = |column: usize| batch.column(column).as_primitive::<UInt32Type>();
    let (ids, splits) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
    let tokens = batch.column(2).as_list::<i32>();
    let (prompt_ends, chain_of_thought_ends, unit_numbers) = (numbers(3), numbers(4), numbers(5));
    let row_hashes = batch.column(6).as_fixed_size_binary();
    for row in 0..batch.num_rows() {
        let index = units.samples;
        let split = match splits.value(row) {
            "train" => Split::Train,
            "validation" => Split::Validation,
            other => return Err(format!("sample {index} has the unknown split `{other}`")),
        };
        let tokens = tokens.value(row);
        let tokens = tokens.as_primitive::<UInt32Type>().values();
        let bounds = SectionBounds::new(
            prompt_ends.value(row),
            chain_of_thought_ends.value(row),
            tokens.len() as u32,
        )
        .map_err(|error| format!("sample {index} has {error}"))?;
        units.place(split, unit_numbers.value(row))?;
        let sample = SampleRef {
            id: ids.value(row),
            split,
            bounds,
        };
        let row_hash = row_hashes.value(row).try_into().expect("the schema says 32 bytes");
        columns.push(sample, tokens, row_hash);
    }
    Ok(())
}
