//! The places of row groups, pages and blocks in a shard, compared with what its footer states.

use std::ops::Range;

use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::{
    blocks::{BLOCK_COLUMN, HeadRows},
    footer::Footer,
    seal::DATA_START,
};
use crate::hashing::Region;

/// Size in bytes of the length before each block.
const LENGTH_BYTES: usize = 4;

/// The places of a row group: among the shard's blocks, and in the file.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) blocks: Range<usize>,
    pub(super) head: Range<usize>,
    pub(super) data: Range<usize>,
    pub(super) pages: Vec<Page>,
}

/// A page of the column of blocks: where it ends in the file, and which rows of the row group it holds.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) end: usize,
    pub(super) rows: Range<usize>,
}

/// One block, as the head of its row group describes it.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) sample: u32,
    pub(super) first_position: u32,
    pub(super) positions: u32,
    pub(super) bytes: Range<usize>,
}

/// Computes the places of the row groups, which follow each other without gaps, and compares them with the Parquet
/// footer and its page index.
pub(super) fn locate_groups(
    footer: &Footer,
    metadata: &ArrowReaderMetadata,
    data_end: usize,
) -> Result<Vec<Group>, &'static str> {
    const BEYOND: &str = "its row groups end beyond its data";
    const DISAGREE: &str = "its footer and its row groups disagree";
    let stated = metadata.metadata().row_groups();
    if stated.len() != footer.row_groups.len() {
        return Err(DISAGREE);
    }
    let mut groups: Vec<Group> = Vec::with_capacity(stated.len());
    let (mut block, mut byte, mut positions) = (0, DATA_START, 0u64);
    for (number, (group, stated)) in footer.row_groups.iter().zip(stated).enumerate() {
        let end_of = |region: &Region| {
            let end = usize::try_from(region.bytes)
                .ok()
                .and_then(|bytes| byte.checked_add(bytes));
            end.filter(|&end| end <= data_end).ok_or(BEYOND)
        };
        let (head, data) = (byte..end_of(&group.head)?, byte..end_of(&group.data)?);
        let rows = group.blocks as usize;
        let index = metadata.metadata().page_index_for_row_group(number);
        let starts = index
            .offset_index(BLOCK_COLUMN)
            .ok_or("it has no page index")?
            .page_locations();
        let mut pages = Vec::with_capacity(starts.len());
        for (number, page) in starts.iter().enumerate() {
            let next = starts.get(number + 1).map_or(rows as i64, |next| next.first_row_index);
            let end = page
                .offset
                .checked_add(i64::from(page.compressed_page_size))
                .ok_or(BEYOND)?;
            let inside = (head.end as i64..=end).contains(&page.offset) && end <= data.end as i64;
            let inside = inside && page.first_row_index <= next;
            if !inside || page.first_row_index < 0 {
                return Err(DISAGREE);
            }
            pages.push(Page {
                end: end as usize,
                rows: page.first_row_index as usize..next as usize,
            });
        }
        // Every row has a block of at least one byte, so there cannot be more rows than bytes.
        if rows > data.len()
            || stated.num_rows() != rows as i64
            || pages.first().is_none_or(|page| page.rows.start != 0)
        {
            return Err(DISAGREE);
        }
        groups.push(Group {
            blocks: block..block + rows,
            head,
            data: data.clone(),
            pages,
        });
        (block, byte) = (block + rows, data.end);
        positions = group.positions.checked_add(positions).ok_or(DISAGREE)?;
    }
    if byte == data_end && footer.positions == positions {
        Ok(groups)
    } else {
        Err(DISAGREE)
    }
}

/// The place of each block of a row group: each value follows its length (four bytes), up to the end of its page.
pub(super) fn locate_blocks(rows: &HeadRows, group: &Group) -> Option<Vec<Block>> {
    if rows.samples.len() != group.blocks.len() {
        return None;
    }
    let mut blocks = Vec::with_capacity(rows.samples.len());
    for page in &group.pages {
        let lengths = rows.block_bytes.get(page.rows.clone())?;
        let values: usize = lengths.iter().map(|&bytes| LENGTH_BYTES + bytes as usize).sum();
        let mut at = page.end.checked_sub(values).filter(|&start| start >= group.head.end)?;
        for (row, &bytes) in page.rows.clone().zip(lengths) {
            at += LENGTH_BYTES;
            blocks.push(Block {
                sample: rows.samples[row],
                first_position: rows.first_positions[row],
                positions: rows.positions[row],
                bytes: at..at + bytes as usize,
            });
            at += bytes as usize;
        }
    }
    Some(blocks)
}

/// Blocks that touch: their range of the file, and that of the order in which the blocks lie there.
pub(super) type BlockRun = (Range<u64>, Range<usize>);

/// The order of blocks in the file, and the runs of blocks that touch, but for the length of the later one: each a range of the
/// file, and of that order. The pages of a stranger's shard may lie in any order.
pub(super) fn runs_of(places: &[&Block]) -> (Vec<usize>, Vec<BlockRun>) {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&index| places[index].bytes.start);
    let mut runs: Vec<BlockRun> = Vec::new();
    for (at, &index) in order.iter().enumerate() {
        let bytes = places[index].bytes.start as u64..places[index].bytes.end as u64;
        match runs.last_mut() {
            Some((run, of)) if bytes.start <= run.end + LENGTH_BYTES as u64 => {
                (run.end, of.end) = (run.end.max(bytes.end), at + 1);
            }
            _ => runs.push((bytes, at..at + 1)),
        }
    }
    (order, runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_touch_are_one_range_in_whatever_order_they_lie() {
        let block = |bytes: Range<usize>| Block {
            sample: 0,
            first_position: 0,
            positions: 1,
            bytes,
        };
        let blocks = [
            block(50..60),
            block(64..70),
            block(10..20),
            block(75..80),
            block(24..24),
        ];
        let (order, runs) = runs_of(&blocks.iter().collect::<Vec<_>>());
        assert_eq!(order, [2, 4, 0, 1, 3]);
        assert_eq!(runs, [(10..24, 0..2), (50..70, 2..4), (75..80, 4..5)]);
        assert!(runs_of(&[]).1.is_empty());
    }
}
