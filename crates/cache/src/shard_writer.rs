//! Writing one shard: sample after sample into bounded row groups, then the seal, then the commit.

use std::{
    io::{self, Seek, SeekFrom, Write},
    mem,
    ops::Range,
};

use leadspan_distribution::Distributions;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    file::metadata::KeyValue,
};

use crate::{
    CacheError, LayerDir, WorkUnit,
    commit::PendingFile,
    hashing::{HashingWriter, Region},
    plain::{self, Rows},
    seal::{DATA_START, PARQUET_MAGIC, SEAL_BYTES, Seal},
    shard::{FOOTER_KEY, Footer, Placement, RowGroup},
};

/// Writes the shard of one work unit.
///
/// Nothing is visible before [`commit`](Self::commit); dropping the writer removes what it wrote. It holds at most one
/// row group (4 MiB decoded, or one position if that is larger) at a time.
pub struct ShardWriter {
    layer: LayerDir,
    unit: WorkUnit,
    writer: ArrowWriter<HashingWriter<PendingFile>>,
    rows: Rows,
    next_sample: usize,
    footer: Footer,
}

/// What was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardFacts {
    /// Size of the file.
    pub bytes: u64,
    /// Stored positions.
    pub positions: u64,
    /// Stored entries of all positions.
    pub entries: u64,
}

impl ShardWriter {
    /// Starts the shard of `unit` in `layer`.
    ///
    /// # Errors
    ///
    /// Where the layer's folder cannot be written to.
    pub fn create(layer: &LayerDir, unit: &WorkUnit) -> Result<Self, CacheError> {
        let path = layer.shard_path(unit);
        let failed = || CacheError::parquet("write", &path);
        let output = HashingWriter::new(PendingFile::create(&path)?);
        let options = ArrowWriterOptions::new()
            .with_properties(plain::writer_properties())
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(output, plain::schema(), options).map_err(failed())?;
        // Room for the seal, which is known last.
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
            positions: 0,
            entries: 0,
            row_groups: Vec::new(),
        };
        let next_sample = unit.samples.start;
        Ok(Self {
            layer: layer.clone(),
            unit: unit.clone(),
            writer,
            rows: Rows::default(),
            next_sample,
            footer,
        })
    }

    /// Records what kind of device computes the shard (instruction set or compute capability) in its footer.
    #[must_use]
    pub fn with_device_class(mut self, device_class: impl Into<String>) -> Self {
        self.footer.device_class = Some(device_class.into());
        self
    }

    /// Adds a sample: exactly the positions that the layer covers, ascending, with their distributions.
    ///
    /// Samples come in the order of the corpus. Those without positions may be left out.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSample`] where sample or positions are not the expected ones; [`CacheError::Io`] where the
    /// file system refuses.
    pub fn push_sample(
        &mut self,
        sample_index: u32,
        positions: &[u32],
        distributions: &Distributions,
    ) -> Result<(), CacheError> {
        let wrong = |problem: &str| Err(self.wrong_sample(sample_index, problem.to_owned()));
        let index = sample_index as usize;
        if !(self.next_sample..self.unit.samples.end).contains(&index) {
            return wrong("it was written already or belongs to another work unit");
        }
        if positions.len() != distributions.len() {
            return wrong("it has more or fewer positions than distributions");
        }
        self.require_no_positions(self.next_sample..index)?;
        let sample = &self.layer.corpus().samples()[index];
        if !self.layer.layer().positions(sample).eq(positions.iter().copied()) {
            return wrong("its positions are not those that the layer covers");
        }
        for (&position, distribution) in positions.iter().zip(distributions.iter()) {
            self.rows.push(sample_index, position, distribution);
            if self.rows.bytes() >= plain::ROW_GROUP_BYTES {
                self.write_row_group()?;
            }
        }
        self.next_sample = index + 1;
        Ok(())
    }

    /// Makes the shard visible: durable and whole under its name.
    ///
    /// Where another process has committed the same unit meanwhile, its shard stays and this one is dropped.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongSample`] where samples with positions are still to come; [`CacheError::Io`] where the file
    /// system refuses. Nothing is left behind in either case, save that an error while syncing the folder comes after
    /// the shard has become visible.
    pub fn commit(mut self) -> Result<ShardFacts, CacheError> {
        self.require_no_positions(self.next_sample..self.unit.samples.end)?;
        if self.rows.len() > 0 {
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
        let mut output = writer.into_inner().map_err(CacheError::parquet("write", &path))?;
        let (tail_bytes, tail_blake3) = output.end_region();
        let data_bytes: u64 = footer.row_groups.iter().map(|group| group.data.bytes).sum();
        let file_bytes = DATA_START as u64 + data_bytes + tail_bytes;
        let seal = Seal {
            file_bytes,
            tail_bytes,
            tail_blake3: *tail_blake3.as_bytes(),
        };
        let mut pending = output.into_inner();
        write_seal(&mut pending, &seal).map_err(CacheError::io("write", &path))?;
        let facts = ShardFacts {
            bytes: file_bytes,
            positions: footer.positions,
            entries: footer.entries,
        };
        if layer.is_committed(&unit) {
            return Ok(facts);
        }
        match pending.commit() {
            // On a file system without locks, the process that committed the unit first may have cleared ours up.
            Err(CacheError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && layer.is_committed(&unit) =>
            {
                Ok(facts)
            }
            committed => committed.map(|()| facts),
        }
    }

    fn write_row_group(&mut self) -> Result<(), CacheError> {
        let path = self.layer.shard_path(&self.unit);
        let failed = || CacheError::parquet("write", &path);
        let rows = mem::take(&mut self.rows);
        let row_count = rows.len() as u64;
        self.footer.positions += row_count;
        self.footer.entries += rows.distributions.token_ids().len() as u64;
        self.writer
            .write(&rows.into_batch())
            .and_then(|()| self.writer.flush())
            .map_err(failed())?;
        self.writer.sync().map_err(CacheError::io("write", &path))?;
        let (bytes, hash) = self.writer.inner_mut().end_region();
        let data = Region {
            bytes,
            blake3: hash.to_hex().to_string(),
        };
        self.footer.row_groups.push(RowGroup { rows: row_count, data });
        Ok(())
    }

    /// Makes sure that nothing is lost by leaving out the samples in `range`.
    fn require_no_positions(&self, mut range: Range<usize>) -> Result<(), CacheError> {
        let samples = self.layer.corpus().samples();
        match range.find(|&index| self.layer.layer().position_count(&samples[index]) > 0) {
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

fn write_seal(pending: &mut PendingFile, seal: &Seal) -> io::Result<()> {
    let file = pending.file_mut();
    file.seek(SeekFrom::Start(PARQUET_MAGIC.len() as u64))?;
    file.write_all(&seal.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{shard::Shard, synthetic};
    use leadspan_sequence::SectionSet;
    use std::fs;

    fn start(synthetic: &synthetic::Prepared) -> (LayerDir, WorkUnit, ShardWriter) {
        let layer = synthetic
            .cache
            .layer(&synthetic::layer("0.5", SectionSet::ALL))
            .unwrap();
        let unit = layer.corpus().units()[0].clone();
        let writer = ShardWriter::create(&layer, &unit).unwrap();
        (layer, unit, writer)
    }

    fn push(writer: &mut ShardWriter, layer: &LayerDir, index: usize) -> Result<(), CacheError> {
        let sample = &layer.corpus().samples()[index];
        let positions: Vec<u32> = layer.layer().positions(sample).collect();
        writer.push_sample(index as u32, &positions, &synthetic::distributions(sample, &positions))
    }

    #[test]
    fn an_uncommitted_writer_leaves_nothing_behind() {
        let synthetic = synthetic::prepared(6, 2, 4);
        let (layer, unit, mut writer) = start(&synthetic);
        push(&mut writer, &layer, 0).unwrap();
        assert!(!layer.is_committed(&unit) && layer.missing_units().len() == layer.corpus().units().len());
        drop(writer);
        let names: Vec<_> = fs::read_dir(layer.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["layer.json"]);
    }

    #[test]
    fn a_temporary_of_a_killed_writer_is_no_shard_and_goes_with_the_next_write() {
        let synthetic = synthetic::prepared(6, 2, 4);
        let (layer, unit, writer) = start(&synthetic);
        drop(writer);
        let stale = layer.path().join(".train-000000.parquet.kill00.tmp");
        fs::write(&stale, b"PAR1 and then the power went").unwrap();
        assert!(layer.missing_units().contains(&unit));
        synthetic::write_shard(&layer, &unit);
        assert!(layer.is_committed(&unit) && !stale.exists());
    }

    #[test]
    fn samples_out_of_order_or_with_other_positions_are_refused() {
        let synthetic = synthetic::prepared(6, 2, 4);
        let (layer, _, mut writer) = start(&synthetic);
        let refused = |result: Result<(), CacheError>, what: &str| {
            let error = result.unwrap_err();
            assert!(error.is_unexpected() && error.to_string().contains(what), "{error}");
        };
        refused(push(&mut writer, &layer, 1), "sample 0 cannot be written");
        push(&mut writer, &layer, 0).unwrap();
        refused(push(&mut writer, &layer, 0), "already");
        refused(push(&mut writer, &layer, 4), "another work unit");
        refused(writer.push_sample(1, &[0, 1], &Distributions::new()), "more or fewer");
        let sample = &layer.corpus().samples()[1];
        refused(
            writer.push_sample(1, &[5], &synthetic::distributions(sample, &[5])),
            "the layer covers",
        );
        refused(writer.commit().map(|_| ()), "left out");
    }

    #[test]
    fn samples_without_positions_may_be_left_out() {
        let synthetic = synthetic::prepared_with_tokens(&[1, 9, 1, 1], 4);
        let (layer, unit, mut writer) = start(&synthetic);
        push(&mut writer, &layer, 1).unwrap();
        let facts = writer.commit().unwrap();
        assert_eq!(facts.positions, 3);
        assert_eq!(Shard::open_in(&layer, &unit).unwrap().footer().positions, 3);
    }

    #[test]
    fn a_unit_without_any_position_is_an_empty_shard() {
        let synthetic = synthetic::prepared_with_tokens(&[1, 1], 2);
        let (layer, unit, writer) = start(&synthetic);
        assert_eq!(writer.commit().unwrap().positions, 0);
        let shard = Shard::open_in(&layer, &unit).unwrap();
        shard.check_all().unwrap();
        assert_eq!(shard.read(&[]).unwrap().len(), 0);
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        let bytes = || {
            let synthetic = synthetic::prepared(6, 2, 4);
            let (layer, unit, writer) = start(&synthetic);
            drop(writer);
            synthetic::write_shard(&layer, &unit);
            fs::read(layer.shard_path(&unit)).unwrap()
        };
        let first = bytes();
        assert_eq!(first, bytes());
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        assert!(
            !first.windows(version.len()).any(|window| window == version),
            "the crate version is in the file"
        );
    }

    #[test]
    fn the_writer_that_comes_second_leaves_the_committed_shard_as_it_is() {
        let synthetic = synthetic::prepared(6, 2, 4);
        let (layer, unit, mut slow) = start(&synthetic);
        for index in unit.samples.clone() {
            push(&mut slow, &layer, index).unwrap();
        }
        synthetic::write_shard(&layer, &unit);
        let path = layer.shard_path(&unit);
        let (before, modified) = (
            fs::read(&path).unwrap(),
            fs::metadata(&path).unwrap().modified().unwrap(),
        );
        slow.with_device_class("another").commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
    }
}
