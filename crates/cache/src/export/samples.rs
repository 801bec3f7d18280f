//! Rows of an export that describe one sample each: its tokens, whole, and where its sections end.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, ListBuilder, PrimitiveBuilder, RecordBatch, StringArray, UInt32Array},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
};

use crate::{SampleRef, parquet_files};

pub(super) fn schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        required("sample_id", DataType::Utf8),
        required("split", DataType::Utf8),
        required("tokens", DataType::List(parquet_files::list_item(DataType::UInt32))),
        required("prompt_end", DataType::UInt32),
        required("chain_of_thought_end", DataType::UInt32),
    ]))
}

/// Samples that have not been written yet.
pub(super) struct SampleRows {
    ids: Vec<String>,
    splits: Vec<&'static str>,
    tokens: ListBuilder<PrimitiveBuilder<UInt32Type>>,
    token_count: usize,
    prompt_ends: Vec<u32>,
    chain_of_thought_ends: Vec<u32>,
}

impl Default for SampleRows {
    fn default() -> Self {
        let tokens = ListBuilder::new(PrimitiveBuilder::new()).with_field(parquet_files::list_item(DataType::UInt32));
        Self {
            ids: Vec::new(),
            splits: Vec::new(),
            tokens,
            token_count: 0,
            prompt_ends: Vec::new(),
            chain_of_thought_ends: Vec::new(),
        }
    }
}

impl SampleRows {
    pub(super) fn add(&mut self, sample: SampleRef<'_>, tokens: &[u32]) {
        self.ids.push(sample.id.to_owned());
        self.splits.push(sample.split.as_str());
        self.tokens.values().append_slice(tokens);
        self.tokens.append(true);
        self.token_count += tokens.len();
        self.prompt_ends.push(sample.bounds.prompt_end());
        self.chain_of_thought_ends.push(sample.bounds.chain_of_thought_end());
    }

    /// The approximate size of the rows in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        100 * self.ids.len() + 4 * self.token_count
    }

    pub(super) fn into_batch(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.ids)),
            Arc::new(StringArray::from(self.splits)),
            Arc::new(self.tokens.finish()),
            Arc::new(UInt32Array::from(self.prompt_ends)),
            Arc::new(UInt32Array::from(self.chain_of_thought_ends)),
        ];
        RecordBatch::try_new(schema(), columns).expect("the columns are built to the schema, one row a sample")
    }
}
