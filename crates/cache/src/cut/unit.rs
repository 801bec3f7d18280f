//! Making one new shard of the blocks of others.
//!
//! The blocks of a new shard form runs whose pieces are of one row group. The blocks of a run keep the model of that row group,
//! so a block that is taken whole is copied byte for byte, and any other one is coded again from the codes of its pieces. Two
//! kinds of runs get a new model: blocks whose pieces are of two row groups, and runs that weigh less than the model, as
//! when few samples are chosen or layers are joined.

use std::{collections::BTreeMap, mem, ops::Range, path::PathBuf, sync::atomic::AtomicU64};

use bytes::Bytes;
use leadspan_distribution::codec::{Codes, Layout, Model};

use super::{
    blocks::{NewBlock, StoredSample, new_blocks},
    open_shards::{GroupKey, OpenShards},
};
use crate::{
    CacheError, Layer, LayerDir, Receipt, ShardWriter, WorkUnit,
    ranged::{CacheFiles, Counted, RangedFile},
    shard::blocks::{BlockRows, ROW_GROUP_BYTES, block_count, with_crc},
    shard::{Shard, Sums, committed_in},
};

/// Where the samples of a new corpus are: the number of the source, and the index in its corpus.
pub(super) type OriginOf<'a> = &'a (dyn Fn(usize) -> (usize, usize) + Sync);

/// Where blocks are copied from.
pub(super) struct Sources<'a, S> {
    /// The files of each source.
    pub(super) files: &'a [S],
    pub(super) origin_of: OriginOf<'a>,
    /// Whether a new shard takes few neighbouring blocks: samples were chosen, or layers are joined.
    pub(super) scattered: bool,
    /// The number of entries to keep, if it is smaller than the stored one.
    pub(super) top_k: Option<u32>,
    /// The number of bytes of shards that were read.
    pub(super) bytes_read: AtomicU64,
}

/// A layer to make, and where its blocks are.
pub(super) struct NewLayer {
    pub(super) layer: LayerDir,
    pub(super) stored: Stored,
}

/// For each source, the layers that blocks are taken from.
pub(super) type Stored = Vec<Vec<Part>>;

/// A stored layer, and what is taken of it.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) dir: LayerDir,
    pub(super) taken: Layer,
}

/// Makes the shard of `unit` and commits it.
///
/// # Errors
///
/// The error of a shard that is missing, damaged or misplaced; [`CacheError::Io`] if the new shard cannot be written.
pub(super) fn make<S: CacheFiles>(
    sources: &Sources<'_, S>,
    layer: &NewLayer,
    unit: &WorkUnit,
) -> Result<Receipt, CacheError> {
    let mut shards = OpenShards::new();
    let blocks = plan(sources, layer, unit, &mut shards)?;
    let writer = ShardWriter::create(&layer.layer, unit)?;
    let mut making = Making {
        writer,
        shards,
        layout: layer.layer.codec_layout(),
        recoded: Recoded::default(),
        sums: Sums::default(),
        top_k: sources.top_k.map(|k| (k, layer)),
    };
    let keys: Vec<Option<GroupKey>> = blocks
        .iter()
        .map(|block| making.group_of(block))
        .collect::<Result<_, _>>()?;
    let mut start = 0;
    while start < blocks.len() {
        let same = keys[start..].iter().take_while(|key| **key == keys[start]).count();
        let run = &blocks[start..start + same];
        match keys[start] {
            Some(key) if sources.top_k.is_none() && (!sources.scattered || making.outweighs_its_head(key, run)?) => {
                making.write_recoded()?;
                making.copy(key, run)?;
            }
            key => making.recode(key, run)?,
        }
        start += same;
    }
    making.commit()
}

/// The blocks of the new shard. Opens the shards that they are taken from.
fn plan<'a, S: CacheFiles>(
    sources: &'a Sources<'_, S>,
    layer: &NewLayer,
    unit: &WorkUnit,
    shards: &mut OpenShards<Counted<'a, S::File>>,
) -> Result<Vec<NewBlock>, CacheError> {
    let mut blocks = Vec::new();
    let mut open: Option<OpenUnit> = None;
    for index in unit.samples.clone() {
        let sample = layer.layer.corpus().sample(index);
        let (source, stored_index) = (sources.origin_of)(index);
        let parts = &layer.stored[source];
        // All parts are layers of one corpus.
        let units = parts[0].dir.corpus().units();
        let number = units.partition_point(|unit| unit.samples.end <= stored_index);
        let stored_unit = &units[number];
        if open
            .as_ref()
            .is_none_or(|open| (open.source, open.number) != (source, number))
        {
            let mut shards_of_parts = Vec::new();
            for Part { dir, .. } in parts {
                let file = sources.files[source].open(&shard_name(dir, stored_unit))?;
                let bytes_read = &sources.bytes_read;
                let shard: Shard<_> = committed_in(dir, stored_unit, Counted { file, bytes_read })?;
                shards_of_parts.push((shards.add(shard), first_blocks(dir, stored_unit)));
            }
            open = Some(OpenUnit {
                source,
                number,
                shards: shards_of_parts,
            });
        }
        let open = open.as_ref().expect("it was opened just now");
        let places = parts
            .iter()
            .zip(&open.shards)
            .map(|(part, (shard, first_blocks))| StoredSample {
                layer: part.dir.layer(),
                taken: &part.taken,
                shard: *shard,
                index: stored_index as u32,
                first_block: first_blocks[stored_index - stored_unit.samples.start],
            });
        blocks.extend(new_blocks(index as u32, sample, &places.collect::<Vec<_>>()));
    }
    for piece in blocks.iter().flat_map(|block| &block.pieces) {
        shards.take(piece);
    }
    Ok(blocks)
}

/// A stored work unit whose shards are open.
struct OpenUnit {
    source: usize,
    /// Its number in the corpus of the source.
    number: usize,
    /// For each part, the number of the open shard and the first block there of each sample.
    shards: Vec<(usize, Vec<usize>)>,
}

/// The path of a shard inside the folder of its cache.
fn shard_name(layer: &LayerDir, unit: &WorkUnit) -> PathBuf {
    ["layers", &layer.layer().folder_name(), &format!("{unit}.parquet")]
        .iter()
        .collect()
}

/// The number of the first block of each sample of a unit in its shard.
fn first_blocks(layer: &LayerDir, unit: &WorkUnit) -> Vec<usize> {
    let mut next = 0;
    let samples = layer.corpus().samples_of(unit.samples.clone());
    let of_each = samples.map(|sample| {
        let first = next;
        next += block_count(sample.token_count(), layer.layer().position_count(sample));
        first
    });
    of_each.collect()
}

/// Blocks that get a model of their own.
#[derive(Default)]
struct Recoded {
    rows: BlockRows,
    codes: Codes,
    /// The positions of each block among `codes`.
    ranges: Vec<Range<usize>>,
}

/// A new shard while it is made.
struct Making<'a, F> {
    writer: ShardWriter,
    shards: OpenShards<F>,
    layout: Layout,
    recoded: Recoded,
    /// Of what was coded with fewer entries.
    sums: Sums,
    top_k: Option<(u32, &'a NewLayer)>,
}

impl<F: RangedFile> Making<'_, F> {
    /// The row group of all pieces of a block; `None` if they are of several.
    fn group_of(&self, block: &NewBlock) -> Result<Option<GroupKey>, CacheError> {
        let mut found = None;
        for piece in &block.pieces {
            let key = self.shards.group_of(piece)?;
            if found.is_some_and(|found| found != key) {
                return Ok(None);
            }
            found = Some(key);
        }
        Ok(found)
    }

    /// Whether the blocks of a run have at least as many bytes as the head of their row group.
    fn outweighs_its_head(&mut self, key: GroupKey, run: &[NewBlock]) -> Result<bool, CacheError> {
        let head = self.shards.head(key)?;
        let pieces = run.iter().flat_map(|block| &block.pieces);
        let bytes: usize = pieces.map(|piece| head.block_bytes(piece.block)).sum();
        Ok(bytes >= head.bytes)
    }

    /// Reads the stored blocks of a run of one row group, all at once.
    fn read(&mut self, key: GroupKey, run: &[NewBlock]) -> Result<BTreeMap<usize, Bytes>, CacheError> {
        let head = self.shards.head(key)?;
        let shard = self.shards.shard(key.0);
        let mut wanted = BTreeMap::new();
        for piece in run.iter().flat_map(|block| &block.pieces) {
            shard.check_place(&head, piece.block, piece.stored)?;
            wanted.insert(piece.block, Bytes::new());
        }
        let numbers: Vec<usize> = wanted.keys().copied().collect();
        let stored = shard.stored_blocks(&head, &numbers)?;
        Ok(numbers.into_iter().zip(stored).collect())
    }

    /// Writes the blocks of a run of one row group, whose model they keep.
    fn copy(&mut self, key: GroupKey, run: &[NewBlock]) -> Result<(), CacheError> {
        let stored = self.read(key, run)?;
        let head = self.shards.head(key)?;
        let mut rows = BlockRows::default();
        let (mut codes, mut ranges, mut places) = (Codes::default(), Vec::new(), Vec::new());
        for block in run {
            push_row(&mut rows, block);
            if let Some(piece) = block.whole() {
                rows.blocks.push(stored[&piece.block].to_vec());
                continue;
            }
            let first = codes.len();
            for piece in &block.pieces {
                self.shards.decode(piece, &head, &stored[&piece.block], &mut codes)?;
            }
            ranges.push(first..codes.len());
            places.push(rows.blocks.len());
            rows.blocks.push(Vec::new());
        }
        if !places.is_empty() {
            let coded = head.model().encode_codes(&codes, &ranges);
            let coded = coded.map_err(|source| self.shards.shard(key.0).not_distributions(source))?;
            for (place, coded) in places.into_iter().zip(coded) {
                rows.blocks[place] = with_crc(&coded);
            }
        }
        let model = head.model();
        self.writer
            .push_row_group(rows, model.numbering().to_vec(), model.frequencies())
    }

    /// Decodes the blocks of a run and keeps them for a row group with a model of its own. `key` is the row group of all pieces,
    /// whose blocks are then read at once.
    fn recode(&mut self, key: Option<GroupKey>, run: &[NewBlock]) -> Result<(), CacheError> {
        let read = key.map(|key| self.read(key, run)).transpose()?;
        for block in run {
            let mut codes = Codes::default();
            for piece in &block.pieces {
                let key = self.shards.group_of(piece)?;
                let head = self.shards.head(key)?;
                if let Some(read) = &read {
                    self.shards.decode(piece, &head, &read[&piece.block], &mut codes)?;
                    continue;
                }
                let shard = self.shards.shard(piece.shard);
                shard.check_place(&head, piece.block, piece.stored)?;
                for bytes in &shard.stored_blocks(&head, &[piece.block])? {
                    self.shards.decode(piece, &head, bytes, &mut codes)?;
                }
            }
            if let Some((k, layer)) = self.top_k {
                let identity = layer.layer.identity();
                let shard = self.shards.shard(block.pieces[0].shard);
                codes = codes
                    .with_top_k(k as usize, identity.precision, &identity.entries.temperatures)
                    .map_err(|source| shard.not_distributions(source))?;
                self.sums.entries += codes.entries() as u64;
                self.sums.retained_mass += codes.retained_mass(identity.precision);
            }
            push_row(&mut self.recoded.rows, block);
            let first = self.recoded.codes.len();
            self.recoded.codes.append(&codes, 0..codes.len());
            self.recoded.ranges.push(first..self.recoded.codes.len());
            if self.recoded.codes.bytes() >= ROW_GROUP_BYTES {
                self.write_recoded()?;
            }
        }
        Ok(())
    }

    /// Writes the row group of the blocks that were kept, if there are any.
    fn write_recoded(&mut self) -> Result<(), CacheError> {
        let Recoded {
            mut rows,
            codes,
            ranges,
        } = mem::take(&mut self.recoded);
        if ranges.is_empty() {
            return Ok(());
        }
        let model = Model::fit_codes(&codes, self.layout);
        let coded = model
            .encode_codes(&codes, &ranges)
            .expect("the model was fitted to these positions");
        rows.blocks = coded.iter().map(|coded| with_crc(coded)).collect();
        self.writer
            .push_row_group(rows, model.numbering().to_vec(), model.frequencies())
    }

    fn commit(mut self) -> Result<Receipt, CacheError> {
        self.write_recoded()?;
        let sums = if self.top_k.is_some() {
            self.sums
        } else {
            self.shards.sums()
        };
        let writer = match self.shards.device_class() {
            Some(class) => self.writer.with_device_class(class),
            None => self.writer,
        };
        writer.commit_copied(sums)
    }
}

fn push_row(rows: &mut BlockRows, block: &NewBlock) {
    rows.samples.push(block.sample);
    rows.first_positions.push(block.first_position);
    rows.positions.push(block.positions);
}
