//! A committed shard: mapped into memory, or read by ranges from elsewhere, and checked before it is parsed.

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
    CacheError, LayerDir, WorkUnit, mapping, parquet_files,
    ranged::RangedFile,
    shard::blocks::{self, BLOCK_COLUMN, HeadRows},
    shard::footer::{FOOTER_KEY, Footer, Placement},
    shard::pieces::Pieces,
    shard::places::{Block, Group, locate_blocks, locate_groups, runs_of},
    shard::seal::Seal,
};

/// A shard whose seal and footer have been checked. Heads and blocks are checked when they are read. The file is mapped, unless
/// it is read from elsewhere.
#[derive(Debug)]
pub(crate) struct Shard<F = Bytes> {
    path: PathBuf,
    file: F,
    /// Everything after the last row group.
    tail: Bytes,
    /// blake3 of the tail.
    tail_blake3: String,
    footer: Footer,
    groups: Vec<Group>,
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

impl Shard {
    /// Maps the shard at `path` and checks everything except its row groups.
    ///
    /// # Errors
    ///
    /// The error that names what is wrong with the file; [`CacheError::Io`] if it cannot be mapped.
    #[cfg(test)]
    pub(crate) fn open(path: &Path) -> Result<Self, CacheError> {
        Self::of_file(path, mapping::map(path)?)
    }

    /// Maps the shard of `unit` in `layer` and checks that it belongs there.
    ///
    /// # Errors
    ///
    /// Those of [`of_unit`](Self::of_unit), and [`CacheError::Io`] if it cannot be mapped.
    pub(crate) fn open_in(layer: &LayerDir, unit: &WorkUnit) -> Result<Self, CacheError> {
        Self::of_unit(layer, unit, mapping::map(&layer.shard_path(unit))?)
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.file
    }

    /// Compares all row groups with their checksums.
    ///
    /// # Errors
    ///
    /// [`CacheError::Damaged`] with the first row group that differs.
    pub(crate) fn check_all(&self) -> Result<(), CacheError> {
        for (index, (group, stated)) in self.groups.iter().zip(&self.footer.row_groups).enumerate() {
            if !stated.data.matches(&self.file[group.data.clone()]) {
                return Err(self.damaged(format!("row group {index}")));
            }
        }
        Ok(())
    }
}

impl<F: RangedFile> Shard<F> {
    /// The shard in `file`, everything of which except the row groups is checked. Errors name it `path`.
    ///
    /// # Errors
    ///
    /// The error that names what is wrong with the file; [`CacheError::Io`] if it cannot be read.
    fn of_file(path: &Path, file: F) -> Result<Self, CacheError> {
        let (seal, tail) = Seal::check(&file, path)?;
        let data_end = file.size() - seal.tail_bytes;
        let pieces = Pieces::of(file.size(), vec![(data_end, tail.clone())]);
        let inconsistent = |problem: &str| CacheError::Inconsistent {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let metadata = parquet_files::guarded(path, || metadata_with_index(&pieces))?;
        if metadata.schema().fields() != blocks::schema().fields() {
            return Err(inconsistent("its columns are not those of a shard"));
        }
        let text = metadata
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == FOOTER_KEY)?.value.as_deref())
            .ok_or_else(|| inconsistent("its footer does not describe its contents"))?;
        let footer: Footer = serde_json::from_str(text).map_err(|source| CacheError::BadJson {
            path: path.to_owned(),
            source,
        })?;
        let groups = locate_groups(&footer, &metadata, data_end as usize).map_err(inconsistent)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            tail,
            tail_blake3: blake3::Hash::from_bytes(seal.tail_blake3).to_hex().to_string(),
            footer,
            groups,
        })
    }

    /// The shard of `unit` in `layer`, whose file is `file`. Checks that it belongs there.
    ///
    /// # Errors
    ///
    /// [`CacheError::ForeignShard`] if it does not; the error that names what is wrong with the file; [`CacheError::Io`] if it
    /// cannot be read.
    pub(crate) fn of_unit(layer: &LayerDir, unit: &WorkUnit, file: F) -> Result<Self, CacheError> {
        let shard = Self::of_file(&layer.shard_path(unit), file)?;
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

    /// Size of the file, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.file.size()
    }

    /// Reads the whole file.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if it cannot be read.
    pub(crate) fn whole(&self) -> Result<Bytes, CacheError> {
        self.read(0..self.size() as usize)
    }

    fn read(&self, range: Range<usize>) -> Result<Bytes, CacheError> {
        let range = range.start as u64..range.end as u64;
        self.file.range(range).map_err(CacheError::io("read", &self.path))
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

    /// Reads the head of a row group. Its checksum is compared first, so the Parquet library sees only bytes that
    /// leadspan wrote.
    ///
    /// # Errors
    ///
    /// The error that names what is wrong with the row group.
    pub(crate) fn head(&self, group_index: usize) -> Result<Head, CacheError> {
        let group = &self.groups[group_index];
        let region = &self.footer.row_groups[group_index].head;
        let bytes = self.read(group.head.clone())?;
        if !region.matches(&bytes) {
            return Err(self.damaged(format!("head of row group {group_index}")));
        }
        let tail_start = self.size() - self.tail.len() as u64;
        let pieces = vec![(group.head.start as u64, bytes), (tail_start, self.tail.clone())];
        let pieces = Pieces::of(self.size(), pieces);
        let rows = parquet_files::guarded(&self.path, || {
            let metadata = footer_metadata(&pieces)?;
            check_pages(&pieces, metadata.metadata(), |group, column| {
                group == group_index && column < BLOCK_COLUMN
            })?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pieces, metadata);
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
        let stored = self.place(head, block)?;
        let place = (stored.sample, Some(&stored.first_position), stored.positions as usize);
        if place != (sample, positions.first(), positions.len()) {
            return Err(self.misplaced(block, sample));
        }
        let bytes = self.read(stored.bytes.clone())?;
        let coded = blocks::checked(&bytes).ok_or_else(|| self.damaged(format!("block {block}")))?;
        head.model
            .decode(coded, positions.len(), into)
            .map_err(|source| self.not_distributions(source))?;
        Ok(bytes.len())
    }

    /// Reads blocks of one row group, whose head is `head`; their numbers ascend. Blocks that follow each other are read at once.
    /// Compares each with its checksum, and does not decode them.
    ///
    /// # Errors
    ///
    /// The error of the first block that is damaged; [`CacheError::Io`] if they cannot be read.
    pub(crate) fn stored_blocks(&self, head: &Head, blocks: &[usize]) -> Result<Vec<Bytes>, CacheError> {
        let places: Vec<&Block> = blocks
            .iter()
            .map(|&block| self.place(head, block))
            .collect::<Result<_, _>>()?;
        let (order, runs) = runs_of(&places);
        let ranges: Vec<Range<u64>> = runs.iter().map(|(range, _)| range.clone()).collect();
        let read = self.file.ranges(&ranges).map_err(CacheError::io("read", &self.path))?;
        let mut stored = vec![Bytes::new(); places.len()];
        for ((range, of), bytes) in runs.into_iter().zip(&read) {
            for &index in &order[of] {
                let place = &places[index].bytes;
                let start = place.start - range.start as usize;
                let block = bytes.slice(start..start + place.len());
                if blocks::checked(&block).is_none() {
                    return Err(self.damaged(format!("block {}", blocks[index])));
                }
                stored[index] = block;
            }
        }
        Ok(stored)
    }

    /// Checks that a block is `positions` positions of `sample` from `first_position` on.
    ///
    /// # Errors
    ///
    /// [`CacheError::Inconsistent`] if it is another one.
    pub(crate) fn check_place(
        &self,
        head: &Head,
        block: usize,
        (sample, first_position, positions): (u32, u32, usize),
    ) -> Result<(), CacheError> {
        let stored = self.place(head, block)?;
        let place = (stored.sample, stored.first_position, stored.positions as usize);
        if place == (sample, first_position, positions) {
            Ok(())
        } else {
            Err(self.misplaced(block, sample))
        }
    }

    /// Decodes a block that was read, which holds so many positions, to codes.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotDistributions`] if it cannot be decoded.
    pub(crate) fn codes(
        &self,
        head: &Head,
        stored: &[u8],
        positions: usize,
        into: &mut codec::Codes,
    ) -> Result<(), CacheError> {
        let coded = blocks::checked(stored).unwrap_or_default();
        head.model
            .decode_codes(coded, positions, into)
            .map_err(|source| self.not_distributions(source))
    }

    fn place<'a>(&self, head: &'a Head, block: usize) -> Result<&'a Block, CacheError> {
        let index = block.checked_sub(head.first_block);
        index
            .and_then(|index| head.blocks.get(index))
            .ok_or_else(|| self.inconsistent(format!("it has no block {block}")))
    }

    fn misplaced(&self, block: usize, sample: u32) -> CacheError {
        self.inconsistent(format!(
            "block {block} does not hold the expected positions of sample {sample}"
        ))
    }

    fn damaged(&self, part: String) -> CacheError {
        let path = self.path.clone();
        CacheError::Damaged { path, part }
    }

    pub(crate) fn inconsistent(&self, problem: String) -> CacheError {
        let path = self.path.clone();
        CacheError::Inconsistent { path, problem }
    }

    pub(crate) fn not_distributions(&self, source: codec::CodecError) -> CacheError {
        let path = self.path.clone();
        CacheError::NotDistributions { path, source }
    }
}

impl Head {
    /// The model of the row group's blocks.
    pub(crate) fn model(&self) -> &codec::Model {
        &self.model
    }

    /// The size of a block, in bytes; 0 if the row group does not have it.
    pub(crate) fn block_bytes(&self, block: usize) -> usize {
        let index = block.checked_sub(self.first_block);
        index
            .and_then(|index| self.blocks.get(index))
            .map_or(0, |block| block.bytes.len())
    }
}

/// The Parquet footer. It is parsed again for every head, because it would be most of the memory of an open shard.
fn footer_metadata(bytes: &Pieces) -> Result<ArrowReaderMetadata, ParquetError> {
    check_footer(bytes)?;
    ArrowReaderMetadata::load(bytes, ArrowReaderOptions::new())
}

/// The Parquet footer with the page index, which has the places of the blocks.
fn metadata_with_index(bytes: &Pieces) -> Result<ArrowReaderMetadata, ParquetError> {
    check_page_index(bytes, footer_metadata(bytes)?.metadata())?;
    let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Required);
    ArrowReaderMetadata::load(bytes, options)
}
