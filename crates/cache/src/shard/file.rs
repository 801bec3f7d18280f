//! A committed shard, mapped into memory and checked before it is parsed.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use leadspan_distribution::{Distributions, codec};
use leadspan_parquet_guard::{check_footer, check_page_index, check_pages};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    errors::ParquetError,
    file::metadata::PageIndexPolicy,
};

use crate::{
    CacheError, LayerDir, WorkUnit,
    hashing::Region,
    mapping, parquet_files,
    shard::blocks::{self, BLOCK_COLUMN, HeadRows},
    shard::footer::{FOOTER_KEY, Footer, Placement},
    shard::seal::{DATA_START, Seal},
};

/// A mapped shard whose seal and footer have been checked. Heads and blocks are checked when they are read.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    bytes: Bytes,
    /// blake3 of the tail.
    tail_blake3: String,
    footer: Footer,
    groups: Vec<Group>,
}

/// The places of a row group: among the shard's blocks, and in the file.
#[derive(Debug)]
struct Group {
    blocks: Range<usize>,
    head: Range<usize>,
    data: Range<usize>,
    pages: Vec<Page>,
}

/// A page of the column of blocks: where it ends in the file, and which rows of the row group it holds.
#[derive(Debug)]
struct Page {
    end: usize,
    rows: Range<usize>,
}

/// The head of a row group: the model of its blocks, and the place of each block.
#[derive(Debug)]
pub(crate) struct Head {
    model: codec::Model,
    /// The number of the group's first block in the shard.
    first_block: usize,
    blocks: Vec<Block>,
    /// The number of bytes that were read for it.
    pub(crate) bytes: usize,
}

/// One block, as the head of its row group describes it.
#[derive(Clone, Debug)]
struct Block {
    sample: u32,
    first_position: u32,
    positions: u32,
    bytes: Range<usize>,
}

impl Shard {
    /// Maps the shard at `path` and checks everything except its row groups.
    ///
    /// # Errors
    ///
    /// The error that names what is wrong with the file; [`CacheError::Io`] if it cannot be mapped.
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        let bytes = mapping::map(path)?;
        let seal = Seal::check(&bytes, path)?;
        let inconsistent = |problem: &str| CacheError::Inconsistent {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let metadata = parquet_files::guarded(path, || metadata_with_index(&bytes))?;
        if metadata.schema().fields() != blocks::schema().fields() {
            return Err(inconsistent("its columns are not those of a shard"));
        }
        let file = metadata.metadata().file_metadata();
        let text = file
            .key_value_metadata()
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == FOOTER_KEY)?.value.as_deref())
            .ok_or_else(|| inconsistent("its footer does not describe its contents"))?;
        let footer: Footer = serde_json::from_str(text).map_err(|source| CacheError::BadJson {
            path: path.to_owned(),
            source,
        })?;
        let groups = locate_groups(&footer, &metadata, bytes.len() - seal.tail_bytes as usize).map_err(inconsistent)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            tail_blake3: blake3::Hash::from_bytes(seal.tail_blake3).to_hex().to_string(),
            footer,
            groups,
        })
    }

    /// Maps the shard of `unit` in `layer` and checks that it belongs there.
    ///
    /// # Errors
    ///
    /// [`CacheError::ForeignShard`] if it does not, and the errors of [`open`](Self::open).
    pub(crate) fn open_in(layer: &LayerDir, unit: &WorkUnit) -> Result<Self, CacheError> {
        let shard = Self::open(&layer.shard_path(unit))?;
        let (found, expected) = (shard.footer.placement.marks(), Placement::of(layer, unit).marks());
        for ((field, found), (_, expected)) in found.into_iter().zip(expected) {
            if found != expected {
                return Err(CacheError::ForeignShard {
                    path: shard.path,
                    field,
                    found,
                    expected,
                });
            }
        }
        Ok(shard)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// blake3 of the tail, which has the hashes of everything else in the file.
    pub(crate) fn tail_blake3(&self) -> &str {
        &self.tail_blake3
    }

    /// The number of blocks of all row groups.
    pub(crate) fn block_count(&self) -> usize {
        self.groups.last().map_or(0, |group| group.blocks.end)
    }

    /// The index of the row group that holds a block.
    pub(crate) fn group_of(&self, block: usize) -> usize {
        self.groups.partition_point(|group| group.blocks.end <= block)
    }

    /// Compares all row groups with their checksums.
    ///
    /// # Errors
    ///
    /// [`CacheError::Damaged`] with the first row group that differs.
    pub(crate) fn check_all(&self) -> Result<(), CacheError> {
        for (index, (group, stated)) in self.groups.iter().zip(&self.footer.row_groups).enumerate() {
            if !stated.data.matches(&self.bytes[group.data.clone()]) {
                return Err(self.damaged(format!("row group {index}")));
            }
        }
        Ok(())
    }

    /// Reads the head of a row group. Its checksum is compared first, so the Parquet library sees only bytes that
    /// leadspan wrote.
    ///
    /// # Errors
    ///
    /// The error that names what is wrong with the row group.
    pub(crate) fn head(&self, group_index: usize) -> Result<Head, CacheError> {
        let group = &self.groups[group_index];
        let region = &self.footer.row_groups[group_index].head;
        if !region.matches(&self.bytes[group.head.clone()]) {
            return Err(self.damaged(format!("head of row group {group_index}")));
        }
        let rows = parquet_files::guarded(&self.path, || {
            let metadata = footer_metadata(&self.bytes)?;
            check_pages(&self.bytes, metadata.metadata(), |group, column| {
                group == group_index && column < BLOCK_COLUMN
            })?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), metadata);
            let head_columns = ProjectionMask::roots(builder.parquet_schema(), 0..BLOCK_COLUMN);
            let reader = builder
                .with_row_groups(vec![group_index])
                .with_projection(head_columns)
                .with_batch_size(group.blocks.len())
                .build()?;
            let mut rows = HeadRows::default();
            for batch in reader {
                rows.add(&batch?);
            }
            Ok(rows)
        })?;
        let blocks = locate_blocks(&rows, group).ok_or_else(|| {
            self.inconsistent(format!("the blocks of row group {group_index} do not lie in its pages"))
        })?;
        let layout = codec::Layout::new(&self.footer.stored, self.footer.precision);
        let model = codec::Model::from_parts(layout, rows.numbering, &rows.frequencies)
            .map_err(|source| self.not_distributions(source))?;
        Ok(Head {
            model,
            first_block: group.blocks.start,
            blocks,
            bytes: group.head.len(),
        })
    }

    /// Decodes a block and appends it to `into`. `head` is the head of the block's row group; the block must hold these
    /// positions of this sample. Returns the number of bytes that were read.
    ///
    /// # Errors
    ///
    /// The error that names what is wrong with the block.
    pub(crate) fn read_block(
        &self,
        head: &Head,
        block: usize,
        sample: u32,
        positions: &[u32],
        into: &mut Distributions,
    ) -> Result<usize, CacheError> {
        let Some(stored) = block
            .checked_sub(head.first_block)
            .and_then(|index| head.blocks.get(index))
        else {
            return Err(self.inconsistent(format!("it has no block {block}")));
        };
        let place = (stored.sample, Some(&stored.first_position), stored.positions as usize);
        if place != (sample, positions.first(), positions.len()) {
            let problem = format!("block {block} does not hold the expected positions of sample {sample}");
            return Err(self.inconsistent(problem));
        }
        let bytes = &self.bytes[stored.bytes.clone()];
        let coded = blocks::checked(bytes).ok_or_else(|| self.damaged(format!("block {block}")))?;
        head.model
            .decode(coded, positions.len(), into)
            .map_err(|source| self.not_distributions(source))?;
        Ok(bytes.len())
    }

    fn damaged(&self, part: String) -> CacheError {
        let path = self.path.clone();
        CacheError::Damaged { path, part }
    }

    pub(crate) fn inconsistent(&self, problem: String) -> CacheError {
        let path = self.path.clone();
        CacheError::Inconsistent { path, problem }
    }

    fn not_distributions(&self, source: codec::CodecError) -> CacheError {
        let path = self.path.clone();
        CacheError::NotDistributions { path, source }
    }
}

/// The Parquet footer. It is parsed again for every head, because it would be most of the memory of an open shard.
fn footer_metadata(bytes: &Bytes) -> Result<ArrowReaderMetadata, ParquetError> {
    check_footer(bytes)?;
    ArrowReaderMetadata::load(bytes, ArrowReaderOptions::new())
}

/// The Parquet footer with the page index, which has the places of the blocks.
fn metadata_with_index(bytes: &Bytes) -> Result<ArrowReaderMetadata, ParquetError> {
    check_page_index(bytes, footer_metadata(bytes)?.metadata())?;
    let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Required);
    ArrowReaderMetadata::load(bytes, options)
}

/// Computes the places of the row groups, which follow each other without gaps, and compares them with the Parquet
/// footer and its page index.
fn locate_groups(footer: &Footer, metadata: &ArrowReaderMetadata, data_end: usize) -> Result<Vec<Group>, &'static str> {
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
fn locate_blocks(rows: &HeadRows, group: &Group) -> Option<Vec<Block>> {
    const LENGTH_BYTES: usize = 4;
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
