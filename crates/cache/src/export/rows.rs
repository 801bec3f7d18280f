//! Rows of an export that describe one position each. Their columns are a stable interface of leadspan.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float32Array, ListArray, RecordBatch, StringArray, UInt32Array},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use leadspan_distribution::Distributions;
use parquet::{file::properties::WriterProperties, schema::types::ColumnPath};

use crate::{SampleRef, Span, parquet_files};

/// Size in bytes of the decoded rows that are collected before they are passed to the Parquet writer.
pub(super) const BATCH_BYTES: usize = 4 << 20;

pub(super) fn schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        required("sample_id", DataType::Utf8),
        required("split", DataType::Utf8),
        required("position", DataType::UInt32),
        required("section", DataType::Utf8),
        required("token_id", DataType::UInt32),
        required("token_ids", DataType::List(parquet_files::list_item(DataType::UInt32))),
        required("logprobs", DataType::List(parquet_files::list_item(DataType::Float32))),
        required("tail_logprob", DataType::Float32),
        required("target_logprob", DataType::Float32),
    ]))
}

/// Encodings that every Parquet reader knows, because other programs read the export.
pub(super) fn writer_properties() -> WriterProperties {
    let mut properties = parquet_files::writer_properties();
    for name in ["sample_id", "split", "section"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
    }
    properties.build()
}

/// Rows of the export that have not been written yet.
#[derive(Default)]
pub(super) struct ExportRows {
    sample_ids: Vec<String>,
    splits: Vec<&'static str>,
    positions: Vec<u32>,
    sections: Vec<&'static str>,
    token_ids: Vec<u32>,
    distributions: Distributions,
}

impl ExportRows {
    pub(super) fn add(&mut self, sample: SampleRef<'_>, span: &Span) {
        for &position in &span.positions {
            let target = position + 1;
            self.sample_ids.push(sample.id.to_owned());
            self.splits.push(sample.split.as_str());
            self.positions.push(position);
            self.sections.push(sample.bounds.section_of(target).as_str());
            self.token_ids.push(span.tokens[target as usize]);
        }
        self.distributions.append(&span.distributions);
    }

    /// The approximate size of the rows in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        100 * self.positions.len() + 8 * self.distributions.token_ids().len()
    }

    pub(super) fn into_batch(self) -> RecordBatch {
        let (token_ids, logprobs) = list_columns(&self.distributions);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.sample_ids)),
            Arc::new(StringArray::from(self.splits)),
            Arc::new(UInt32Array::from(self.positions)),
            Arc::new(StringArray::from(self.sections)),
            Arc::new(UInt32Array::from(self.token_ids)),
            Arc::new(token_ids),
            Arc::new(logprobs),
            Arc::new(Float32Array::from(self.distributions.tail_logprobs().to_vec())),
            Arc::new(Float32Array::from(self.distributions.target_logprobs().to_vec())),
        ];
        RecordBatch::try_new(schema(), columns).expect("the columns are built to the schema, one row a position")
    }
}

/// Token ids and log-probabilities as list columns, with one list for each position.
fn list_columns(distributions: &Distributions) -> (ListArray, ListArray) {
    let offsets: Vec<i32> = distributions.offsets().iter().map(|&offset| offset as i32).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let list = |data_type, values: ArrayRef| {
        ListArray::new(parquet_files::list_item(data_type), offsets.clone(), values, None)
    };
    (
        list(
            DataType::UInt32,
            Arc::new(UInt32Array::from(distributions.token_ids().to_vec())),
        ),
        list(
            DataType::Float32,
            Arc::new(Float32Array::from(distributions.logprobs().to_vec())),
        ),
    )
}
