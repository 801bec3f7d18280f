//! The plain codec: one row per stored position, in typed columns.
//!
//! Owns the columns of a shard and the way between rows and [`Distributions`], and nothing of files. A later codec
//! replaces this module and [`CODEC_VERSION`](crate::CODEC_VERSION).

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Float32Array, ListArray, RecordBatch, UInt32Array},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Float32Type, Schema, SchemaRef, UInt32Type},
};
use leadspan_distribution::{DistributionError, Distributions, Position};
use parquet::{
    basic::Encoding,
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use crate::parquet_files;

/// Decoded bytes a row group may reach: what is held while writing, and the most that one checksum covers.
pub(crate) const ROW_GROUP_BYTES: usize = 4 << 20;

/// Rows of a page at most: what a read of one position has to decompress.
const PAGE_ROWS: usize = 256;

/// The columns of a shard.
pub(crate) fn schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        required("sample", DataType::UInt32),
        required("position", DataType::UInt32),
        required("token_ids", DataType::List(parquet_files::list_item(DataType::UInt32))),
        required("logprobs", DataType::List(parquet_files::list_item(DataType::Float32))),
        required("tail_logprob", DataType::Float32),
        required("target_logprob", DataType::Float32),
    ]))
}

/// How those columns are encoded: byte planes compress well, runs of sample and position become deltas.
pub(crate) fn writer_properties() -> WriterProperties {
    parquet_files::writer_properties()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_encoding(Encoding::BYTE_STREAM_SPLIT)
        .set_column_encoding(ColumnPath::from("sample"), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(ColumnPath::from("position"), Encoding::DELTA_BINARY_PACKED)
        .build()
}

/// Rows in memory, on their way into or out of a shard.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) samples: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) distributions: Distributions,
}

impl Rows {
    pub(crate) fn push(&mut self, sample: u32, position: u32, distribution: Position<'_>) {
        self.samples.push(sample);
        self.positions.push(position);
        let Position {
            token_ids,
            logprobs,
            tail_logprob,
            target_logprob,
        } = distribution;
        self.distributions
            .push(token_ids, logprobs, tail_logprob, target_logprob);
    }

    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The size of the rows before encoding.
    pub(crate) fn bytes(&self) -> usize {
        // Sample, position, offset, tail and target a row; id and log-probability an entry.
        20 * self.len() + 8 * self.distributions.token_ids().len()
    }

    /// The rows as a batch of [`schema`].
    pub(crate) fn into_batch(self) -> RecordBatch {
        let Self {
            samples,
            positions,
            distributions,
        } = self;
        let (token_ids, logprobs) = list_columns(&distributions);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(samples)),
            Arc::new(UInt32Array::from(positions)),
            Arc::new(token_ids),
            Arc::new(logprobs),
            Arc::new(Float32Array::from(distributions.tail_logprobs().to_vec())),
            Arc::new(Float32Array::from(distributions.target_logprobs().to_vec())),
        ];
        RecordBatch::try_new(schema(), columns).expect("the columns are built to the schema, one row a position")
    }

    /// The rows of a batch of [`schema`].
    pub(crate) fn from_batch(batch: &RecordBatch) -> Result<Self, DistributionError> {
        let numbers = |column: usize| batch.column(column).as_primitive::<UInt32Type>().values().to_vec();
        let floats = |column: usize| batch.column(column).as_primitive::<Float32Type>().values().to_vec();
        let (id_lists, logprob_lists) = (batch.column(2).as_list::<i32>(), batch.column(3).as_list::<i32>());
        let (offsets, ids) = entries_of(id_lists);
        let (logprob_offsets, logprobs) = entries_of(logprob_lists);
        if let Some(position) = (0..offsets.len()).find(|&at| offsets[at] != logprob_offsets[at]) {
            return Err(DistributionError::Offsets {
                position: position - 1,
                entries: ids.len(),
            });
        }
        let token_ids = ids.as_primitive::<UInt32Type>().values().to_vec();
        let logprobs = logprobs.as_primitive::<Float32Type>().values().to_vec();
        let distributions = Distributions::from_parts(offsets, token_ids, logprobs, floats(4), floats(5))?;
        Ok(Self {
            samples: numbers(0),
            positions: numbers(1),
            distributions,
        })
    }
}

/// Token ids and log-probabilities as list columns, one list a position.
pub(crate) fn list_columns(distributions: &Distributions) -> (ListArray, ListArray) {
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

/// Offsets from 0, and the values between the first and the last of them.
fn entries_of(lists: &ListArray) -> (Vec<u32>, ArrayRef) {
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0], offsets[lists.len()]);
    let values = lists.values().slice(first as usize, (last - first) as usize);
    (offsets.iter().map(|&offset| (offset - first) as u32).collect(), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::default();
        for (sample, position, ids, logprobs) in [
            (3, 0, &[7u32, 2][..], &[-0.5f32, -2.0][..]),
            (3, 1, &[], &[]),
            (4, 0, &[1], &[-0.25]),
        ] {
            rows.push(
                sample,
                position,
                Position {
                    token_ids: ids,
                    logprobs,
                    tail_logprob: -1.5,
                    target_logprob: -4.0,
                },
            );
        }
        rows
    }

    #[test]
    fn rows_survive_their_columns_whole_and_sliced() {
        let batch = rows().into_batch();
        let whole = Rows::from_batch(&batch).unwrap();
        assert_eq!(
            (&whole.samples[..], &whole.positions[..]),
            (&[3, 3, 4][..], &[0, 1, 0][..])
        );
        assert_eq!(whole.distributions, rows().distributions);
        let last = Rows::from_batch(&batch.slice(1, 2)).unwrap();
        assert_eq!(last.distributions.get(1), rows().distributions.get(2));
        assert_eq!(last.distributions.get(0).token_ids.len(), 0);
    }

    #[test]
    fn lists_of_different_lengths_are_no_distributions() {
        let batch = rows().into_batch();
        let mut columns = batch.columns().to_vec();
        let mut shorter = Distributions::new();
        for ids in [&[7u32][..], &[2], &[1]] {
            shorter.push(ids, &vec![-0.5; ids.len()], -1.5, -4.0);
        }
        columns[3] = Arc::new(list_columns(&shorter).1);
        let crossed = RecordBatch::try_new(schema(), columns).unwrap();
        assert!(matches!(
            Rows::from_batch(&crossed),
            Err(DistributionError::Offsets { position: 0, .. })
        ));
    }
}
