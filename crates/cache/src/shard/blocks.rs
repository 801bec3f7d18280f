//! The rows of a shard, which are blocks of consecutive positions of one sample, and the columns of the rows.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, ListArray, RecordBatch, UInt32Array},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
};
use parquet::{
    basic::{Compression, Encoding},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use crate::parquet_files;

/// Size in decoded bytes at which a row group is written. It bounds the writer's memory and the data that one model is
/// fitted to.
pub(crate) const ROW_GROUP_BYTES: usize = 32 << 20;

/// Index of the column of the coded blocks. All columns before it form the head of a row group.
pub(crate) const BLOCK_COLUMN: usize = 6;

/// Size of the CRC-32 at the start of each block, in bytes.
pub(crate) const CRC_BYTES: usize = 4;

/// The number of positions in a block of a sample with this many tokens: about a sixteenth, between 8 and 64.
///
/// Small blocks let a reader skip the rest of a sample; below 8 positions the bytes of the block itself weigh too much.
pub(crate) fn block_positions(tokens: usize) -> usize {
    (tokens / 64 * 4).clamp(8, 64)
}

/// The number of blocks of a sample with `tokens` tokens and `positions` stored positions.
pub(crate) fn block_count(tokens: usize, positions: usize) -> usize {
    positions.div_ceil(block_positions(tokens))
}

/// The columns of a shard.
pub(crate) fn schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    let list = || DataType::List(parquet_files::list_item(DataType::UInt32));
    Arc::new(Schema::new(vec![
        required("sample", DataType::UInt32),
        required("first_position", DataType::UInt32),
        required("positions", DataType::UInt32),
        required("block_bytes", DataType::UInt32),
        required("numbering", list()),
        required("frequencies", list()),
        required("block", DataType::Binary),
    ]))
}

/// The encodings of the columns. Numbers are stored as deltas, compressed with zstd. Blocks are incompressible and stay
/// plain, so that each can be read in place.
pub(crate) fn writer_properties() -> WriterProperties {
    let block = ColumnPath::from("block");
    parquet_files::writer_properties()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_encoding(Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(block.clone(), Encoding::PLAIN)
        .set_column_compression(block, Compression::UNCOMPRESSED)
        .build()
}

/// A block as it is stored: the CRC-32 of the coded positions, and these.
pub(crate) fn with_crc(coded: &[u8]) -> Vec<u8> {
    [&crc32fast::hash(coded).to_le_bytes()[..], coded].concat()
}

/// The coded positions of a stored block; `None` if the checksum does not match.
pub(crate) fn checked(block: &[u8]) -> Option<&[u8]> {
    let (crc, coded) = block.split_first_chunk::<CRC_BYTES>()?;
    (crc32fast::hash(coded) == u32::from_le_bytes(*crc)).then_some(coded)
}

/// The rows of one row group to write: coded blocks and their positions.
#[derive(Debug, Default)]
pub(crate) struct BlockRows {
    pub(crate) samples: Vec<u32>,
    pub(crate) first_positions: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) blocks: Vec<Vec<u8>>,
}

impl BlockRows {
    /// The rows as a batch of [`schema`]. The first row contains the model.
    pub(crate) fn into_batch(self, numbering: Vec<u32>, frequencies: Vec<u32>) -> RecordBatch {
        let rows = self.blocks.len();
        let of_each = |of: fn(&[u8]) -> u32| UInt32Array::from_iter_values(self.blocks.iter().map(|block| of(block)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(self.samples)),
            Arc::new(UInt32Array::from(self.first_positions)),
            Arc::new(UInt32Array::from(self.positions)),
            Arc::new(of_each(|block| block.len() as u32)),
            Arc::new(in_first_row(numbering, rows)),
            Arc::new(in_first_row(frequencies, rows)),
            Arc::new(BinaryArray::from_iter_values(&self.blocks)),
        ];
        RecordBatch::try_new(schema(), columns).expect("the columns are built to the schema, one row a block")
    }
}

/// A list column whose first row holds all the values.
fn in_first_row(values: Vec<u32>, rows: usize) -> ListArray {
    let lengths = (0..rows).map(|row| if row == 0 { values.len() } else { 0 });
    let offsets = OffsetBuffer::from_lengths(lengths);
    let item = parquet_files::list_item(DataType::UInt32);
    ListArray::new(item, offsets, Arc::new(UInt32Array::from(values)), None)
}

/// The rows of the head of a row group: the positions of its blocks, and the model that codes them.
#[derive(Debug, Default)]
pub(crate) struct HeadRows {
    pub(crate) samples: Vec<u32>,
    pub(crate) first_positions: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) block_bytes: Vec<u32>,
    pub(crate) numbering: Vec<u32>,
    pub(crate) frequencies: Vec<u32>,
}

impl HeadRows {
    /// Adds the rows of a batch of [`schema`] without its last column.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        let numbers = |column: usize| batch.column(column).as_primitive::<UInt32Type>().values();
        let listed = |column: usize| {
            let lists = batch.column(column).as_list::<i32>();
            let (first, last) = (lists.value_offsets()[0], lists.value_offsets()[lists.len()]);
            let values = lists.values().slice(first as usize, (last - first) as usize);
            values.as_primitive::<UInt32Type>().values().to_vec()
        };
        self.samples.extend_from_slice(numbers(0));
        self.first_positions.extend_from_slice(numbers(1));
        self.positions.extend_from_slice(numbers(2));
        self.block_bytes.extend_from_slice(numbers(3));
        self.numbering.extend(listed(4));
        self.frequencies.extend(listed(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_a_sixteenth_of_their_sample_within_bounds() {
        for (tokens, positions) in [(1, 8), (191, 8), (210, 12), (300, 16), (1023, 60), (4096, 64)] {
            assert_eq!(block_positions(tokens), positions, "{tokens}");
        }
        assert_eq!(block_count(210, 209), 18);
        assert_eq!(block_count(210, 0), 0);
    }

    #[test]
    fn every_flipped_bit_of_a_block_is_found() {
        let block = with_crc(b"positions");
        assert_eq!(checked(&block), Some(&b"positions"[..]));
        for bit in 0..block.len() * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(checked(&flipped), None, "bit {bit}");
        }
        assert_eq!(checked(&block[..3]), None);
    }

    #[test]
    fn the_head_of_a_batch_comes_back() {
        let rows = BlockRows {
            samples: vec![4, 4, 5],
            first_positions: vec![0, 8, 0],
            positions: vec![8, 3, 2],
            blocks: vec![vec![1, 2, 3], vec![], vec![9]],
        };
        let batch = rows.into_batch(vec![7, 5, 6], vec![1, 4096]);
        let mut head = HeadRows::default();
        head.add(&batch.slice(0, 2));
        head.add(&batch.slice(2, 1));
        assert_eq!(
            (&head.samples[..], &head.positions[..]),
            (&[4, 4, 5][..], &[8, 3, 2][..])
        );
        assert_eq!(
            (&head.numbering[..], &head.frequencies[..]),
            (&[7, 5, 6][..], &[1, 4096][..])
        );
        assert_eq!(head.block_bytes, [3, 0, 1]);
    }
}
