//! Exporting a cache to a Parquet file for other programs, with one row for each stored position.
//!
//! The columns are a stable interface of leadspan, unlike those of shards, which change with the codec.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Float32Array, ListArray, RecordBatch, StringArray, UInt32Array},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use leadspan_distribution::Distributions;
use leadspan_files::{PendingFile, open_unlinked};
use leadspan_parquet_guard::check_footer;
use leadspan_sequence::LeadSpanProportion;
use parquet::{
    arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
    file::metadata::ParquetMetaDataReader,
    schema::types::ColumnPath,
};
use serde::Serialize;

use crate::{
    Cache, CacheError, Coverage, Missing, Progress, Reader, SampleRef, Span,
    hashing::HashingWriter,
    parquet_files::{self, Finished},
};

/// Size in bytes of the decoded rows that are collected before they are passed to the Parquet writer.
const BATCH_BYTES: usize = 4 << 20;

/// The result of [`export`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Number of samples, including samples without positions.
    pub samples: u64,
    /// Number of rows of the file, which is the number of positions.
    pub rows: u64,
    /// Size of the file, in bytes.
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
    let largest = Reader::open_largest(cache, missing)?;
    let reader = match proportion {
        None => largest,
        Some(proportion) => {
            let sections = largest.coverage().sections;
            Reader::open(cache, Coverage { proportion, sections }, missing)?
        }
    };
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
        bytes,
    })
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

fn schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        required("sample_id", DataType::Utf8),
        required("split", DataType::Utf8),
        required("position", DataType::UInt32),
        required("section", DataType::Utf8),
        required("token_id", DataType::UInt32),
        required("token_ids", DataType::List(parquet_files::list_item(DataType::UInt32))),
        required("logprobs", DataType::List(parquet_files::list_item(DataType::Float32))),
        required("tail_logprob", DataType::Float32),
        required("target_logprob", DataType::Float32),
    ]))
}

/// Encodings that every Parquet reader knows, because other programs read the export.
fn writer_properties() -> parquet::file::properties::WriterProperties {
    let mut properties = parquet_files::writer_properties();
    for name in ["sample_id", "split", "section"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
    }
    properties.build()
}

/// Rows of the export that have not been written yet.
#[derive(Default)]
struct ExportRows {
    sample_ids: Vec<String>,
    splits: Vec<&'static str>,
    positions: Vec<u32>,
    sections: Vec<&'static str>,
    token_ids: Vec<u32>,
    distributions: Distributions,
}

impl ExportRows {
    fn add(&mut self, sample: SampleRef<'_>, span: &Span) {
        for &position in &span.positions {
            let target = position + 1;
            self.sample_ids.push(sample.id.to_owned());
            self.splits.push(sample.split.as_str());
            self.positions.push(position);
            self.sections.push(sample.bounds.section_of(target).as_str());
            self.token_ids.push(span.tokens[target as usize]);
        }
        self.distributions.append(&span.distributions);
    }

    /// The approximate size of the rows in memory, in bytes.
    fn bytes(&self) -> usize {
        100 * self.positions.len() + 8 * self.distributions.token_ids().len()
    }

    fn into_batch(self) -> RecordBatch {
        let (token_ids, logprobs) = list_columns(&self.distributions);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.sample_ids)),
            Arc::new(StringArray::from(self.splits)),
            Arc::new(UInt32Array::from(self.positions)),
            Arc::new(StringArray::from(self.sections)),
            Arc::new(UInt32Array::from(self.token_ids)),
            Arc::new(token_ids),
            Arc::new(logprobs),
            Arc::new(Float32Array::from(self.distributions.tail_logprobs().to_vec())),
            Arc::new(Float32Array::from(self.distributions.target_logprobs().to_vec())),
        ];
        RecordBatch::try_new(schema(), columns).expect("the columns are built to the schema, one row a position")
    }
}

/// Token ids and log-probabilities as list columns, with one list for each position.
fn list_columns(distributions: &Distributions) -> (ListArray, ListArray) {
    let offsets: Vec<i32> = distributions.offsets().iter().map(|&offset| offset as i32).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let list = |data_type, values: ArrayRef| {
        ListArray::new(parquet_files::list_item(data_type), offsets.clone(), values, None)
    };
    (
        list(
            DataType::UInt32,
            Arc::new(UInt32Array::from(distributions.token_ids().to_vec())),
        ),
        list(
            DataType::Float32,
            Arc::new(Float32Array::from(distributions.logprobs().to_vec())),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use arrow::{
        array::AsArray,
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
