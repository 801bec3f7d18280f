//! A committed shard, mapped into memory and checked before it is parsed.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use leadspan_distribution::{Distributions, codec};
use leadspan_parquet_guard::{check_page_index, check_pages};
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

/// A shard whose seal and footer hold; heads and blocks are checked when they are read.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    bytes: Bytes,
    footer: Footer,
    groups: Vec<Group>,
}

/// Where a row group lies in the file and among the shard's blocks.
#[derive(Debug)]
struct Group {
    blocks: Range<usize>,
    head: Range<usize>,
    data: Range<usize>,
    pages: Vec<Page>,
}

/// A page of the column of blocks: its end in the file, and the row group's rows in it.
#[derive(Debug)]
struct Page {
    end: usize,
    rows: Range<usize>,
}

/// What the blocks of a row group share, and where each of them lies.
#[derive(Debug)]
pub(crate) struct Head {
    model: codec::Model,
    /// Number of the group's first block in the shard.
    first_block: usize,
    blocks: Vec<Block>,
    /// Bytes that were read for it.
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
    /// Maps the shard at `path` and checks everything but its row groups.
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
            .ok_or_else(|| inconsistent("its footer does not say what it holds"))?;
        let footer: Footer = serde_json::from_str(text).map_err(|source| CacheError::BadJson {
            path: path.to_owned(),
            source,
        })?;
        let groups = locate_groups(&footer, &metadata, bytes.len() - seal.tail_bytes as usize).map_err(inconsistent)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            footer,
            groups,
        })
    }

    /// Maps the shard of `unit` in `layer` and makes sure that it is that shard.
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

    /// How many blocks the row groups have.
    pub(crate) fn block_count(&self) -> usize {
        self.groups.last().map_or(0, |group| group.blocks.end)
    }

    /// The row group that holds a block.
    pub(crate) fn group_of(&self, block: usize) -> usize {
        self.groups.partition_point(|group| group.blocks.end <= block)
    }

    /// Compares the checksums of all row groups.
    pub(crate) fn check_all(&self) -> Result<(), CacheError> {
        for (index, (group, stated)) in self.groups.iter().zip(&self.footer.row_groups).enumerate() {
            if !stated.data.matches(&self.bytes[group.data.clone()]) {
                return Err(self.damaged(format!("row group {index}")));
            }
        }
        Ok(())
    }

    /// Reads the head of a row group, compared with its checksum first: the Parquet library sees only bytes that were
    /// written by us.
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

    /// Decodes a block of the row group of `head`, which must hold these positions of this sample, to the end of `into`;
    /// returns how many bytes were read.
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
            let problem = format!("block {block} does not hold the positions of sample {sample} that belong there");
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

/// The Parquet footer. Parsed anew for every head: kept, it would be most of what an open shard takes.
fn footer_metadata(bytes: &Bytes) -> Result<ArrowReaderMetadata, ParquetError> {
    ArrowReaderMetadata::load(bytes, ArrowReaderOptions::new())
}

/// The Parquet footer with its page index, which says where the blocks lie.
fn metadata_with_index(bytes: &Bytes) -> Result<ArrowReaderMetadata, ParquetError> {
    check_page_index(bytes, footer_metadata(bytes)?.metadata())?;
    let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Required);
    ArrowReaderMetadata::load(bytes, options)
}

/// Lays the footer's row groups end to end and compares them with what the Parquet footer and its page index say.
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
        // Every row has a block of some bytes, so rows beyond them are not worth counting.
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

/// Where each block of a row group lies: values stand behind their lengths (four bytes), up to the end of their page.
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
