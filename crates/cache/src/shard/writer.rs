//! Writing one shard: samples go into row groups of bounded size, then the seal is written and the shard is committed.

use std::{
    io::{self, Read as _, Seek, SeekFrom, Write},
    mem,
    ops::Range,
};

use leadspan_distribution::{Distributions, EntrySettings, codec::Model};
use leadspan_files::PendingFile;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    file::metadata::KeyValue,
};

use crate::{
    CacheError, LayerDir, Receipt, WorkUnit,
    hashing::{HashingWriter, Region},
    parquet_files::{self, Finished},
    shard::blocks::{self, BLOCK_COLUMN, BlockRows, block_positions},
    shard::commit::commit_shard,
    shard::footer::{FOOTER_KEY, Footer, Placement, RowGroup},
    shard::seal::{DATA_START, PARQUET_MAGIC, SEAL_BYTES, Seal},
};

/// Writes the shard of one work unit.
///
/// The shard is not visible before [`commit`](Self::commit). Dropping the writer removes its file. The writer holds at
/// most one row group in memory (32 MiB decoded, or one block if that is larger), and its encoded form.
pub struct ShardWriter {
    layer: LayerDir,
    unit: WorkUnit,
    writer: ArrowWriter<HashingWriter<PendingFile>>,
    /// The positions of the current row group, and the blocks that they form.
    distributions: Distributions,
    plan: Vec<PlannedBlock>,
    next_sample: usize,
    /// Offset of the next row group in the file.
    row_group_start: u64,
    footer: Footer,
}

/// What the footer states of all positions of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// The number of entries.
    pub(crate) entries: u64,
    /// The sum of the probability of the entries.
    pub(crate) retained_mass: f64,
    /// Whether both are in proportion to those of other shards.
    pub(crate) estimated: bool,
}

/// A block of the current row group.
struct PlannedBlock {
    sample: u32,
    first_position: u32,
    positions: usize,
}

impl ShardWriter {
    /// Starts the shard of `unit` in `layer`.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if the layer's folder cannot be written.
    pub fn create(layer: &LayerDir, unit: &WorkUnit) -> Result<Self, CacheError> {
        layer.require_own_folder()?;
        let path = layer.shard_path(unit);
        let failed = || CacheError::parquet("write", &path);
        let output = HashingWriter::new(PendingFile::create_in(&path, layer.clearing())?);
        let options = ArrowWriterOptions::new()
            .with_properties(blocks::writer_properties())
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(output, blocks::schema(), options).map_err(failed())?;
        // Space for the seal, which is written last.
        writer
            .write_all(&[0; SEAL_BYTES])
            .and_then(|()| writer.sync())
            .map_err(CacheError::io("write", &path))?;
        let (head_bytes, _) = writer.inner_mut().end_region();
        debug_assert_eq!(head_bytes, DATA_START as u64);
        let placement = Placement::of(layer, unit);
        let footer = Footer {
            placement,
            device_class: None,
            stored: layer.identity().entries.clone(),
            precision: layer.identity().precision,
            positions: 0,
            entries: 0,
            retained_mass: 0.0,
            estimated: false,
            row_groups: Vec::new(),
        };
        let next_sample = unit.samples.start;
        Ok(Self {
            layer: layer.clone(),
            unit: unit.clone(),
            writer,
            distributions: Distributions::new(),
            plan: Vec::new(),
            next_sample,
            row_group_start: DATA_START as u64,
            footer,
        })
    }

    /// Records the kind of device that computes the shard (instruction set or compute capability) in its footer.
    #[must_use]
    pub fn with_device_class(mut self, device_class: impl Into<String>) -> Self {
        self.footer.device_class = Some(device_class.into());
        self
    }

    /// Adds a sample: exactly the positions that the layer holds of it, ascending, with their distributions.
    ///
    /// Samples come in the order of the corpus. Samples without positions may be left out.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSample`] if the sample, its positions or its distributions are not the expected ones;
    /// [`CacheError::Io`] if the file system refuses.
    pub fn push_sample(
        &mut self,
        sample_index: u32,
        positions: &[u32],
        distributions: &Distributions,
    ) -> Result<(), CacheError> {
        let wrong = |problem: &str| Err(self.wrong_sample(sample_index, problem.to_owned()));
        let index = sample_index as usize;
        if !(self.next_sample..self.unit.samples.end).contains(&index) {
            return wrong("it is already written or belongs to another work unit");
        }
        if positions.len() != distributions.len() {
            return wrong("the numbers of its positions and of its distributions differ");
        }
        self.require_no_positions(self.next_sample..index)?;
        let sample = self.layer.corpus().sample(index);
        if !self.layer.layer().positions(sample).eq(positions.iter().copied()) {
            return wrong("its positions are not those that the layer holds");
        }
        if !distributions.is_empty() && distributions.temperatures() != self.footer.stored.temperatures.len() {
            return wrong("it has tail terms for another number of temperatures than the cache");
        }
        if !is_within(&self.footer.stored, distributions) {
            return wrong("it has more entries or drawn tokens at a position than the cache stores");
        }
        if !are_logprobs(distributions) {
            return wrong("it has values that are not log-probabilities");
        }
        let size = block_positions(sample.token_count());
        for (number, block) in positions.chunks(size).enumerate() {
            for at in number * size..number * size + block.len() {
                self.distributions.push(distributions.get(at));
            }
            self.plan.push(PlannedBlock {
                sample: sample_index,
                first_position: block[0],
                positions: block.len(),
            });
            if self.distributions.bytes() >= blocks::ROW_GROUP_BYTES {
                self.write_row_group()?;
            }
        }
        self.next_sample = index + 1;
        Ok(())
    }

    /// Commits the shard and then its receipt: both become visible, whole and durable.
    ///
    /// If another process has committed the same unit meanwhile, its shard stays and this one is dropped.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSample`] if samples with positions are missing; [`CacheError::Io`] if the file system
    /// refuses. An error leaves no file, with one exception: after the shard has become visible, an error leaves a
    /// shard without a receipt, which [`adopt`](crate::adopt) can commit.
    pub fn commit(mut self) -> Result<Receipt, CacheError> {
        self.require_no_positions(self.next_sample..self.unit.samples.end)?;
        if !self.plan.is_empty() {
            self.write_row_group()?;
        }
        let Self {
            layer,
            unit,
            mut writer,
            footer,
            ..
        } = self;
        let path = layer.shard_path(&unit);
        writer.append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), footer.to_json()));
        let Finished {
            file: mut pending,
            last_region: (tail_bytes, tail_blake3),
        } = parquet_files::finish(writer).map_err(CacheError::parquet("write", &path))?;
        let data_bytes: u64 = footer.row_groups.iter().map(|group| group.data.bytes).sum();
        let seal = Seal {
            file_bytes: DATA_START as u64 + data_bytes + tail_bytes,
            tail_bytes,
            tail_blake3: *tail_blake3.as_bytes(),
        };
        write_seal(&mut pending, &seal).map_err(CacheError::io("write", &path))?;
        commit_shard(pending, &layer, &unit)
    }

    /// Commits a shard whose blocks were [copied](Self::push_row_group): all blocks of the unit, in order.
    ///
    /// # Errors
    ///
    /// Those of [`commit`](Self::commit).
    pub(crate) fn commit_copied(mut self, sums: Sums) -> Result<Receipt, CacheError> {
        let samples = self.layer.corpus().samples_of(self.unit.samples.clone());
        let expected: usize = samples.map(|sample| self.layer.layer().position_count(sample)).sum();
        if self.footer.positions != expected as u64 {
            let problem = format!(
                "{} positions were copied, but the unit has {expected}",
                self.footer.positions
            );
            return Err(self.wrong_sample(self.unit.samples.start as u32, problem));
        }
        Sums {
            entries: self.footer.entries,
            retained_mass: self.footer.retained_mass,
            estimated: self.footer.estimated,
        } = sums;
        self.next_sample = self.unit.samples.end;
        self.commit()
    }

    /// Codes and writes the current row group, and adds it to the footer.
    fn write_row_group(&mut self) -> Result<(), CacheError> {
        let distributions = mem::take(&mut self.distributions);
        let plan = mem::take(&mut self.plan);
        let model = Model::fit(&distributions, self.layer.codec_layout());
        let mut rows = BlockRows::default();
        let mut ranges = Vec::with_capacity(plan.len());
        let mut first = 0;
        for block in &plan {
            rows.samples.push(block.sample);
            rows.first_positions.push(block.first_position);
            rows.positions.push(block.positions as u32);
            ranges.push(first..first + block.positions);
            first += block.positions;
        }
        let coded = model.encoder().encode_all(&distributions, &ranges);
        rows.blocks = coded.iter().map(|coded| blocks::with_crc(coded)).collect();
        self.footer.entries += distributions.token_ids().len() as u64;
        let retained = distributions
            .tail_logprobs()
            .iter()
            .map(|&tail| -f64::from(tail).exp_m1());
        self.footer.retained_mass += retained.sum::<f64>();
        self.push_row_group(rows, model.numbering().to_vec(), model.frequencies())
    }

    /// Writes coded blocks, with the parts of their model, as the next row group, and adds it to the footer. Whoever copies
    /// blocks calls this, and then [`commit_copied`](Self::commit_copied).
    pub(crate) fn push_row_group(
        &mut self,
        rows: BlockRows,
        numbering: Vec<u32>,
        frequencies: Vec<u32>,
    ) -> Result<(), CacheError> {
        let path = self.layer.shard_path(&self.unit);
        let failed = || CacheError::parquet("write", &path);
        let (blocks, positions) = (
            rows.blocks.len() as u64,
            rows.positions.iter().map(|&count| u64::from(count)).sum(),
        );
        let batch = rows.into_batch(numbering, frequencies);
        self.writer
            .write(&batch)
            .and_then(|()| self.writer.flush())
            .map_err(failed())?;
        self.writer.sync().map_err(CacheError::io("write", &path))?;
        let flushed = self
            .writer
            .flushed_row_groups()
            .last()
            .expect("a row group was flushed just now");
        let (blocks_start, _) = flushed.column(BLOCK_COLUMN).byte_range();
        let head_bytes = blocks_start - self.row_group_start;
        let (bytes, hash) = self.writer.inner_mut().end_region();
        let file = self.writer.inner_mut().inner_mut();
        let head = file
            .and_then(|file| read_back(file, self.row_group_start, head_bytes))
            .map_err(CacheError::io("read back", &path))?;
        self.footer.row_groups.push(RowGroup {
            blocks,
            positions,
            head: Region::of(&head),
            data: Region {
                bytes,
                blake3: hash.to_hex().to_string(),
            },
        });
        self.row_group_start += bytes;
        self.footer.positions += positions;
        Ok(())
    }

    /// Checks that the samples in `range`, which are left out, have no positions.
    fn require_no_positions(&self, mut range: Range<usize>) -> Result<(), CacheError> {
        let corpus = self.layer.corpus();
        match range.find(|&index| self.layer.layer().position_count(corpus.sample(index)) > 0) {
            Some(index) => Err(self.wrong_sample(index as u32, "it was left out".to_owned())),
            None => Ok(()),
        }
    }

    fn wrong_sample(&self, index: u32, problem: String) -> CacheError {
        CacheError::WrongSample {
            path: self.layer.shard_path(&self.unit),
            index,
            problem,
        }
    }
}

/// Whether no position has more entries or drawn tokens than `settings` allow. Readers refuse more.
fn is_within(settings: &EntrySettings, distributions: &Distributions) -> bool {
    distributions.iter().all(|position| {
        position.token_ids.len() <= settings.top_k as usize
            && position.sampled_token_ids.len() <= settings.tail_samples as usize
    })
}

/// Whether all values can be log-probabilities: at most 0, up to rounding.
fn are_logprobs(distributions: &Distributions) -> bool {
    const ROUNDING: f32 = 1e-5;
    let columns = [
        distributions.logprobs(),
        distributions.tail_logprobs(),
        distributions.target_logprobs(),
    ];
    columns.iter().copied().flatten().all(|&value| value <= ROUNDING)
}

fn write_seal(pending: &mut PendingFile, seal: &Seal) -> io::Result<()> {
    pending.seek(SeekFrom::Start(PARQUET_MAGIC.len() as u64))?;
    pending.write_all(&seal.to_bytes())
}

/// Reads the `bytes` bytes from `start` back, and moves to the end of the file.
fn read_back(pending: &mut PendingFile, start: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut read = vec![0; bytes as usize];
    pending.seek(SeekFrom::Start(start))?;
    pending.file_mut().read_exact(&mut read)?;
    pending.seek(SeekFrom::End(0))?;
    Ok(read)
}
