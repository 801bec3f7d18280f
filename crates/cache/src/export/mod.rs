//! Exporting a cache for other programs.
//!
//! [`export`] writes one Parquet file with one row for each stored position, whose columns are a stable interface of leadspan,
//! unlike those of shards, which change with the codec. [`export_dataset`] writes the same rows as a folder that
//! `datasets.load_dataset` loads, with the tokens of the samples apart. [`export_distillkit`] writes rows that DistillKit
//! trains from.
//!
//! - `rows`, `samples`: the two tables of a data set;
//! - `folder`: files of a bounded size in a folder that appears whole;
//! - `dataset`, `distillkit`: the two layouts of folders.

mod dataset;
mod distillkit;
mod folder;
mod rows;
mod samples;

use std::{fs::File, path::Path};

use leadspan_files::{PendingFile, open_unlinked};
use leadspan_parquet_guard::check_footer;
use leadspan_sequence::LeadSpanProportion;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    file::metadata::ParquetMetaDataReader,
};
use serde::Serialize;

use self::rows::{BATCH_BYTES, ExportRows, schema, writer_properties};
pub use self::{
    dataset::export_dataset,
    distillkit::{NotDistillKit, export_distillkit},
    folder::{FileLimits, FolderSettings, foreign_to_export},
};
use crate::{
    Cache, CacheError, Coverage, Missing, Progress, Reader,
    hashing::HashingWriter,
    parquet_files::{self, Finished},
};

/// The result of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Number of samples, including samples without positions.
    pub samples: u64,
    /// Number of positions, which is the number of rows that describe one.
    pub rows: u64,
    /// Number of Parquet files.
    pub files: u64,
    /// Size of the Parquet files, in bytes.
    pub bytes: u64,
}

/// Writes every stored position to the Parquet file `out`, in the order of the corpus.
///
/// `proportion` limits training samples; validation samples are exported whole. Without it, the export has everything
/// that the layers together hold. If `missing` allows missing units, their samples have no rows. The file becomes
/// visible when it is complete. Memory is bounded by one row group (16 MiB encoded). `progress` counts samples.
///
/// # Errors
///
/// Those of [`Reader`], and [`CacheError::Io`] if `out` cannot be written.
pub fn export(
    cache: &Cache,
    out: &Path,
    proportion: Option<LeadSpanProportion>,
    missing: Missing,
    progress: &mut dyn FnMut(Progress),
) -> Result<Exported, CacheError> {
    let reader = reader_of(cache, proportion, missing)?;
    let failed = || CacheError::parquet("write", out);
    let options = ArrowWriterOptions::new()
        .with_properties(writer_properties())
        .with_skip_arrow_metadata(true);
    let output = HashingWriter::new(PendingFile::create(out)?);
    let mut writer = ArrowWriter::try_new_with_options(output, schema(), options).map_err(failed())?;
    let samples = reader.corpus().samples();
    let total = samples.len() as u64;
    let mut rows = ExportRows::default();
    let mut row_count = 0;
    for (index, sample) in samples.enumerate() {
        let span = reader.span(index as u32)?;
        row_count += span.positions.len() as u64;
        rows.add(sample, &span);
        if rows.bytes() >= BATCH_BYTES {
            writer
                .write(&std::mem::take(&mut rows).into_batch())
                .map_err(failed())?;
        }
        if writer.in_progress_size() >= parquet_files::ROW_GROUP_BYTES {
            writer.flush().map_err(failed())?;
        }
        progress(Progress {
            done: index as u64 + 1,
            total,
        });
    }
    writer.write(&rows.into_batch()).map_err(failed())?;
    let Finished {
        file,
        last_region: (bytes, _),
    } = parquet_files::finish(writer).map_err(failed())?;
    file.commit()?;
    Ok(Exported {
        samples: total,
        rows: row_count,
        files: 1,
        bytes,
    })
}

/// A reader of what is exported: `proportion`, or everything that the layers together hold.
fn reader_of(cache: &Cache, proportion: Option<LeadSpanProportion>, missing: Missing) -> Result<Reader, CacheError> {
    let largest = Reader::open_largest(cache, missing)?;
    match proportion {
        None => Ok(largest),
        Some(proportion) => {
            let sections = largest.coverage().sections;
            Reader::open(cache, Coverage { proportion, sections }, missing)
        }
    }
}

/// Whether the file at `path` is one that [`export`] wrote: a Parquet file with its columns.
///
/// # Errors
///
/// [`CacheError::Io`] if there is a file that cannot be opened.
pub fn is_export(path: &Path) -> Result<bool, CacheError> {
    let file = open_unlinked(path).map_err(CacheError::io("open", path))?;
    let read = |file: &File| {
        check_footer(file)?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(file)?;
        let columns = metadata.file_metadata().schema_descr().root_schema().get_fields();
        Ok(columns
            .iter()
            .map(|column| column.name().to_owned())
            .collect::<Vec<_>>())
    };
    match parquet_files::guarded(path, || read(&file)) {
        Ok(names) => Ok(schema().fields().iter().map(|field| field.name()).eq(&names)),
        Err(error @ CacheError::Io { .. }) => Err(error),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use arrow::{
        array::{AsArray, RecordBatch},
        datatypes::{Float32Type, UInt32Type},
    };
    use leadspan_sequence::{Section, SectionSet, Split};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::fs;

    fn exported(cache: &Cache, proportion: Option<&str>) -> (Exported, Vec<RecordBatch>) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("export.parquet");
        let written = export(
            cache,
            &out,
            proportion.map(|text| text.parse().unwrap()),
            Missing::Refused,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(fs::metadata(&out).unwrap().len(), written.bytes);
        assert!(is_export(&out).unwrap());
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&out).unwrap()).unwrap();
        assert_eq!(reader.schema().fields(), schema().fields());
        (written, reader.build().unwrap().map(Result::unwrap).collect())
    }

    #[test]
    fn every_row_is_a_stored_position_with_its_target_and_section() {
        let captured = synthetic::captured("1.0", SectionSet::ALL);
        let corpus = captured.cache.require_corpus().unwrap();
        for (asked, layer) in [(None, "1.0"), (Some("0.5"), "0.5")] {
            let layer = synthetic::coverage(layer, SectionSet::ALL);
            let (written, batches) = exported(&captured.cache, asked);
            let mut expected = corpus
                .samples()
                .enumerate()
                .flat_map(|(index, sample)| layer.positions(sample).map(move |position| (index, sample, position)));
            let mut rows = 0;
            for batch in &batches {
                let numbers = |column: usize| batch.column(column).as_primitive::<UInt32Type>();
                let floats = |column: usize| batch.column(column).as_primitive::<Float32Type>();
                let text = |column: usize, row| batch.column(column).as_string::<i32>().value(row);
                for row in 0..batch.num_rows() {
                    let (index, sample, position) = expected.next().unwrap();
                    let distributions = synthetic::distributions(&corpus, index, &[position]);
                    let stored = distributions.get(0);
                    assert_eq!((text(0, row), text(1, row)), (sample.id, sample.split.as_str()));
                    assert_eq!(numbers(2).value(row), position);
                    assert_eq!(text(3, row), sample.bounds.section_of(position + 1).as_str());
                    assert_eq!(
                        numbers(4).value(row),
                        corpus.tokens(index).unwrap()[position as usize + 1]
                    );
                    let ids = batch.column(5).as_list::<i32>().value(row);
                    assert_eq!(ids.as_primitive::<UInt32Type>().values(), stored.token_ids);
                    let logprobs = batch.column(6).as_list::<i32>().value(row);
                    assert_eq!(logprobs.as_primitive::<Float32Type>().values(), stored.logprobs);
                    assert_eq!(floats(7).value(row).to_bits(), stored.tail_logprob.to_bits());
                    assert_eq!(floats(8).value(row).to_bits(), stored.target_logprob.to_bits());
                    rows += 1;
                }
            }
            assert!(expected.next().is_none());
            assert_eq!((written.rows, written.samples), (rows, 14));
        }
    }

    #[test]
    fn validation_rows_are_the_same_at_every_proportion() {
        let captured = synthetic::captured("1.0", SectionSet::ALL);
        let validation_rows = |proportion| -> usize {
            let (_, batches) = exported(&captured.cache, Some(proportion));
            let of = |batch: &RecordBatch| {
                batch
                    .column(1)
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .filter(|&split| split == Split::Validation.as_str())
                    .count()
            };
            batches.iter().map(of).sum()
        };
        assert!(validation_rows("0.1") > 0);
        assert_eq!(validation_rows("0.1"), validation_rows("1.0"));
    }

    #[test]
    fn a_section_layer_is_exported_with_its_sections() {
        let captured = synthetic::captured("0.5", SectionSet::new([Section::ChainOfThought]).unwrap());
        let (written, batches) = exported(&captured.cache, Some("0.5"));
        assert!(written.rows > 0);
        for batch in batches {
            assert!(
                batch
                    .column(3)
                    .as_string::<i32>()
                    .iter()
                    .all(|section| section == Some("chain_of_thought"))
            );
        }
    }

    #[test]
    fn other_files_are_no_exports() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let layer = captured.cache.layers().unwrap().remove(0);
        let shard = layer.shard_path(&layer.corpus().units()[0]);
        assert!(!is_export(&shard).unwrap(), "a shard is Parquet as well");
        let text = captured.cache.dir().join("pipeline.toml");
        for content in ["", "[teacher]\n", "PAR1\u{1}\0\0\0PAR1"] {
            fs::write(&text, content).unwrap();
            assert!(!is_export(&text).unwrap(), "{content}");
        }
        assert!(is_export(&captured.cache.dir().join("nothing")).is_err());
    }

    #[test]
    fn a_refused_export_leaves_nothing_behind() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("export.parquet");
        let whole = Some(LeadSpanProportion::WHOLE);
        assert!(matches!(
            export(&captured.cache, &out, whole, Missing::Refused, &mut |_| {}),
            Err(CacheError::ProportionNotCaptured { .. })
        ));
        let layer = captured.cache.layers().unwrap().remove(0);
        let shard = layer.shard_path(&layer.corpus().units()[3]);
        let mut bytes = fs::read(&shard).unwrap();
        bytes[crate::shard::seal::DATA_START + 30] ^= 1;
        fs::write(&shard, bytes).unwrap();
        assert!(matches!(
            export(&captured.cache, &out, None, Missing::Refused, &mut |_| {}),
            Err(CacheError::Damaged { .. })
        ));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
