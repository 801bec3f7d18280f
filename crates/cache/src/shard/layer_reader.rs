//! Reading the positions of a sample from one layer, block by block.

use std::{ops::Range, sync::OnceLock};

use leadspan_distribution::Distributions;

use super::{
    blocks::{block_count, block_positions},
    file::Shard,
    heads::Heads,
    receipt::open_committed,
};
use crate::{CacheError, Layer, LayerDir, SampleRef};

/// The most entries of a sample to reserve memory for. With `top_p` a position may have far fewer entries than top-k.
const MOST_RESERVED_ENTRIES: usize = 1 << 20;

/// A layer to read from. Its shards are mapped when they are first needed.
#[derive(Debug)]
pub(super) struct LayerReader {
    /// Its number among the reader's layers.
    number: usize,
    dir: LayerDir,
    /// The part of the layer that is read.
    wanted: Layer,
    /// One shard for each work unit.
    shards: Vec<OnceLock<Shard>>,
    /// The number of each sample's first block in its shard.
    first_blocks: Vec<u32>,
}

/// The positions of a sample that are read from one layer.
pub(super) struct Piece {
    pub(super) positions: Vec<u32>,
    pub(super) distributions: Distributions,
    /// The number of bytes of the blocks that were read.
    pub(super) block_bytes: u64,
}

impl LayerReader {
    /// A reader of the part `wanted` of the layer `dir`. `number` is its number among the reader's layers.
    pub(super) fn new(number: usize, dir: LayerDir, wanted: Layer) -> Self {
        let corpus = dir.corpus();
        let mut first_blocks = Vec::with_capacity(corpus.len());
        for unit in corpus.units() {
            let mut blocks = 0;
            for sample in corpus.samples_of(unit.samples.clone()) {
                first_blocks.push(blocks as u32);
                blocks += block_count(sample.token_count(), dir.layer().position_count(sample));
            }
        }
        let shards = corpus.units().iter().map(|_| OnceLock::new()).collect();
        Self {
            number,
            dir,
            wanted,
            shards,
            first_blocks,
        }
    }

    /// The layer that is read from.
    pub(super) fn layer(&self) -> &Layer {
        self.dir.layer()
    }

    /// Reads the wanted positions of a sample whose targets are among its first `kept` tokens.
    ///
    /// # Errors
    ///
    /// The error of a shard that is missing, damaged or misplaced.
    pub(super) fn read(
        &self,
        unit: usize,
        sample_index: u32,
        (sample, kept): (SampleRef<'_>, u32),
        heads: &Heads,
    ) -> Result<Piece, CacheError> {
        let stored: Vec<u32> = self.dir.layer().positions(sample).collect();
        let size = block_positions(sample.token_count());
        let first_block = self.first_blocks[sample_index as usize] as usize;
        let wanted = wanted_ordinals((sample, kept), self.dir.layer(), &self.wanted);
        let count = wanted.iter().map(ExactSizeIterator::len).sum();
        let entries = count * self.dir.identity().entries.top_k as usize;
        let mut positions = Vec::with_capacity(count);
        let mut distributions = Distributions::with_capacity(count, entries.min(MOST_RESERVED_ENTRIES));
        let mut block_bytes = 0;
        let mut partial: Option<(usize, Distributions)> = None;
        for wanted in wanted {
            positions.extend_from_slice(&stored[wanted.clone()]);
            for block in wanted.start / size..wanted.end.div_ceil(size) {
                let held = block * size..stored.len().min((block + 1) * size);
                let needed = held.start.max(wanted.start)..held.end.min(wanted.end);
                let mut read = |into: &mut Distributions| {
                    let positions = &stored[held.clone()];
                    block_bytes += self.read_block(unit, first_block + block, sample_index, positions, heads, into)?;
                    Ok::<(), CacheError>(())
                };
                if needed == held {
                    read(&mut distributions)?;
                    continue;
                }
                if partial.as_ref().is_none_or(|(number, _)| *number != block) {
                    let mut decoded = Distributions::new();
                    read(&mut decoded)?;
                    partial = Some((block, decoded));
                }
                let (_, decoded) = partial.as_ref().expect("it was read just now");
                for at in needed {
                    distributions.push(decoded.get(at - held.start));
                }
            }
        }
        Ok(Piece {
            positions,
            distributions,
            block_bytes,
        })
    }

    /// Decodes one block, appends it to `into` and returns its size in bytes.
    fn read_block(
        &self,
        unit: usize,
        block: usize,
        sample: u32,
        positions: &[u32],
        heads: &Heads,
        into: &mut Distributions,
    ) -> Result<u64, CacheError> {
        let shard = self.shard(unit)?;
        if block >= shard.block_count() {
            return Err(shard.inconsistent(format!("it ends before the blocks of sample {sample}")));
        }
        let group = shard.group_of(block);
        let head = heads.get((self.number, unit, group), shard)?;
        let bytes = shard.read_block(&head, block, sample, positions, into)?;
        Ok(bytes as u64)
    }

    /// The shard of a work unit, which is mapped and checked once.
    fn shard(&self, unit: usize) -> Result<&Shard, CacheError> {
        let place = &self.shards[unit];
        if let Some(shard) = place.get() {
            return Ok(shard);
        }
        let shard = open_committed(&self.dir, &self.dir.corpus().units()[unit])?;
        Ok(place.get_or_init(|| shard))
    }
}

/// Ranges of the positions that `stored` holds of a sample, as indices into these positions: those that `wanted` holds
/// too, with targets among the first `kept` tokens. Ascending.
pub(crate) fn wanted_ordinals(
    (sample, kept): (SampleRef<'_>, u32),
    stored: &Layer,
    wanted: &Layer,
) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut before = 0;
    for band in stored.bands() {
        let held = band.targets(sample);
        let wanted = wanted.band(band.section).map(|band| band.targets(sample));
        if let Some(wanted) = wanted.map(|targets| targets.start..targets.end.min(kept))
            && !wanted.is_empty()
        {
            let start = before + (wanted.start - held.start) as usize;
            let range = start..start + wanted.len();
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        before += held.len();
    }
    ranges
}
