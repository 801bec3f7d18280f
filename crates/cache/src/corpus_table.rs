//! The prepared corpus on disk: `corpus/samples.parquet` and, committed after it, `corpus/prepared.json`.
//!
//! `prepared.json` carries size and blake3 of the table, so the table is checked whole before it is parsed; without
//! `prepared.json` there is no corpus, whatever else lies in the folder.

use std::{fs, num::NonZeroU32, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, UInt32Array},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
};
use leadspan_sequence::{Sample, SectionBounds, Split};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder, arrow_writer::ArrowWriterOptions},
    basic::Encoding,
    file::properties::EnabledStatistics,
    schema::types::ColumnPath,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CacheError, FORMAT_VERSION,
    commit::{PendingFile, commit_bytes},
    corpus::{PreparedCorpus, WorkUnit},
    hashing::{HashingWriter, Region},
    json, mapping,
    parquet_files::{self, Finished},
};

const TABLE: &str = "samples.parquet";
const PREPARED: &str = "prepared.json";
/// Rows that are encoded at a time, to bound memory.
const BATCH_SAMPLES: usize = 1024;

/// What `prepared.json` holds.
#[derive(Serialize, Deserialize)]
struct Prepared {
    format: u32,
    table: Region,
    samples: u64,
    samples_per_shard: NonZeroU32,
    facts: Value,
}

fn schema() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        required("sample_id", DataType::Utf8),
        required("split", DataType::Utf8),
        required("tokens", DataType::List(parquet_files::list_item(DataType::UInt32))),
        required("prompt_end", DataType::UInt32),
        required("chain_of_thought_end", DataType::UInt32),
        required("work_unit", DataType::UInt32),
        required("row_hash", DataType::FixedSizeBinary(32)),
    ]))
}

/// Writes table and description into `folder`, which exists.
pub(crate) fn write(folder: &Path, corpus: &PreparedCorpus) -> Result<(), CacheError> {
    let path = folder.join(TABLE);
    let failed = || CacheError::parquet("write", &path);
    let properties = parquet_files::writer_properties()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_dictionary_enabled(ColumnPath::from("split"), true)
        .set_column_encoding(
            ColumnPath::from(["tokens", "list", "element"].map(String::from).to_vec()),
            Encoding::BYTE_STREAM_SPLIT,
        )
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let output = HashingWriter::new(PendingFile::create(&path)?);
    let mut writer = ArrowWriter::try_new_with_options(output, schema(), options).map_err(failed())?;
    for unit in corpus.units() {
        for start in unit.samples.clone().step_by(BATCH_SAMPLES) {
            let end = unit.samples.end.min(start + BATCH_SAMPLES);
            writer.write(&batch(corpus, unit, start, end)).map_err(failed())?;
            if writer.in_progress_size() >= parquet_files::ROW_GROUP_BYTES {
                writer.flush().map_err(failed())?;
            }
        }
    }
    let Finished {
        file,
        last_region: (bytes, hash),
    } = parquet_files::finish(writer).map_err(failed())?;
    file.commit()?;
    let prepared = Prepared {
        format: FORMAT_VERSION,
        table: Region {
            bytes,
            blake3: hash.to_hex().to_string(),
        },
        samples: corpus.samples().len() as u64,
        samples_per_shard: corpus.samples_per_shard(),
        facts: corpus.facts().clone(),
    };
    commit_bytes(&folder.join(PREPARED), &json::to_bytes(&prepared))
}

fn batch(corpus: &PreparedCorpus, unit: &WorkUnit, start: usize, end: usize) -> RecordBatch {
    let samples = &corpus.samples()[start..end];
    let numbers = |of: fn(&Sample) -> u32| -> ArrayRef {
        Arc::new(samples.iter().map(|sample| Some(of(sample))).collect::<UInt32Array>())
    };
    let lengths = samples.iter().map(|sample| sample.tokens.len());
    let tokens: Vec<u32> = samples
        .iter()
        .flat_map(|sample| sample.tokens.iter().copied())
        .collect();
    let tokens = ListArray::new(
        parquet_files::list_item(DataType::UInt32),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(UInt32Array::from(tokens)),
        None,
    );
    let row_hashes = corpus.row_hashes()[start..end].as_flattened().to_vec();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(samples.iter().map(|sample| &sample.id))),
        Arc::new(StringArray::from_iter_values(
            samples.iter().map(|sample| sample.split.as_str()),
        )),
        Arc::new(tokens),
        numbers(|sample| sample.bounds.prompt_end()),
        numbers(|sample| sample.bounds.chain_of_thought_end()),
        Arc::new(UInt32Array::from(vec![unit.number; samples.len()])),
        Arc::new(FixedSizeBinaryArray::new(
            32,
            ScalarBuffer::from(row_hashes).into_inner(),
            None,
        )),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are built to the schema, one row a sample")
}

/// Reads the corpus in `folder`, or `None` where none was committed.
pub(crate) fn read(folder: &Path) -> Result<Option<PreparedCorpus>, CacheError> {
    let prepared_path = folder.join(PREPARED);
    let bytes = match fs::read(&prepared_path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CacheError::io("read", prepared_path)(error)),
    };
    let prepared: Prepared = json::from_bytes(&bytes, &prepared_path)?;
    let path = folder.join(TABLE);
    let table = mapping::map(&path)?;
    let found = table.len() as u64;
    if found != prepared.table.bytes {
        return Err(CacheError::WrongSize {
            path,
            found,
            expected: prepared.table.bytes,
        });
    }
    if !prepared.table.matches(&table) {
        return Err(CacheError::Damaged {
            path,
            part: "contents".to_owned(),
        });
    }
    let failed = || CacheError::parquet("read", &path);
    let reader = ParquetRecordBatchReaderBuilder::try_new(table).map_err(failed())?;
    if reader.schema().fields() != schema().fields() {
        return Err(CacheError::Inconsistent {
            path,
            problem: "its columns are not those of a prepared corpus".into(),
        });
    }
    let mut rows = Rows::default();
    for batch in reader.with_batch_size(BATCH_SAMPLES).build().map_err(failed())? {
        let batch = batch.map_err(|error| CacheError::parquet("read", &path)(error.into()))?;
        rows.add(&batch).map_err(|problem| CacheError::Inconsistent {
            path: path.clone(),
            problem,
        })?;
    }
    if rows.samples.len() as u64 != prepared.samples {
        let problem = format!(
            "it has {} samples where {} were committed",
            rows.samples.len(),
            prepared.samples
        );
        return Err(CacheError::Inconsistent { path, problem });
    }
    let Rows {
        samples,
        row_hashes,
        units,
    } = rows;
    Ok(Some(PreparedCorpus::new(
        samples,
        row_hashes,
        units,
        prepared.samples_per_shard,
        prepared.facts,
    )))
}

/// Samples as they come out of the table.
#[derive(Default)]
struct Rows {
    samples: Vec<Sample>,
    row_hashes: Vec<[u8; 32]>,
    units: Vec<WorkUnit>,
}

impl Rows {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let numbers = |column: usize| batch.column(column).as_primitive::<UInt32Type>();
        let (ids, splits) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let tokens = batch.column(2).as_list::<i32>();
        let (prompt_ends, chain_of_thought_ends, unit_numbers) = (numbers(3), numbers(4), numbers(5));
        let row_hashes = batch.column(6).as_fixed_size_binary();
        for row in 0..batch.num_rows() {
            let index = self.samples.len();
            let split = match splits.value(row) {
                "train" => Split::Train,
                "validation" => Split::Validation,
                other => return Err(format!("sample {index} is of the unknown split `{other}`")),
            };
            let tokens = tokens.value(row).as_primitive::<UInt32Type>().values().to_vec();
            let bounds = SectionBounds::new(
                prompt_ends.value(row),
                chain_of_thought_ends.value(row),
                tokens.len() as u32,
            )
            .map_err(|error| format!("sample {index} has {error}"))?;
            self.place(index, split, unit_numbers.value(row))?;
            self.samples.push(Sample {
                id: ids.value(row).to_owned(),
                split,
                tokens,
                bounds,
            });
            self.row_hashes
                .push(row_hashes.value(row).try_into().expect("the schema says 32 bytes"));
        }
        Ok(())
    }

    /// Puts a sample into the unit that its row names, which is the last one or the next of its split.
    fn place(&mut self, index: usize, split: Split, number: u32) -> Result<(), String> {
        if let Some(unit) = self.units.last_mut()
            && (unit.split, unit.number) == (split, number)
        {
            unit.samples.end = index + 1;
            return Ok(());
        }
        let expected = self
            .units
            .iter()
            .rev()
            .find(|unit| unit.split == split)
            .map_or(0, |unit| unit.number + 1);
        if number != expected {
            return Err(format!(
                "sample {index} is of work unit `{split}-{number:06}` where number {expected} is next"
            ));
        }
        self.units.push(WorkUnit {
            split,
            number,
            samples: index..index + 1,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;

    fn written() -> (tempfile::TempDir, PreparedCorpus) {
        let folder = tempfile::tempdir().unwrap();
        let corpus = synthetic::corpus(9, 4, 4);
        write(folder.path(), &corpus).unwrap();
        (folder, corpus)
    }

    #[test]
    fn a_corpus_reads_back_as_it_was_written() {
        let (folder, corpus) = written();
        let read = read(folder.path()).unwrap().unwrap();
        assert_eq!(read.samples(), corpus.samples());
        assert_eq!(read.row_hashes(), corpus.row_hashes());
        assert_eq!(read.units(), corpus.units());
        assert_eq!(read.facts(), corpus.facts());
        assert_eq!(read.samples_per_shard(), corpus.samples_per_shard());
    }

    #[test]
    fn the_same_corpus_gives_the_same_bytes() {
        let ((one, _), (other, _)) = (written(), written());
        for name in [TABLE, PREPARED] {
            assert_eq!(
                fs::read(one.path().join(name)).unwrap(),
                fs::read(other.path().join(name)).unwrap(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_table_without_its_description_is_no_corpus() {
        let (folder, _) = written();
        fs::remove_file(folder.path().join(PREPARED)).unwrap();
        assert!(read(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_damaged_table_or_description_is_found() {
        let (folder, _) = written();
        let path = folder.path().join(TABLE);
        let sound = fs::read(&path).unwrap();
        for bit in (0..sound.len() * 8).step_by(97) {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            assert!(
                matches!(read(folder.path()), Err(CacheError::Damaged { .. })),
                "bit {bit}"
            );
        }
        fs::write(&path, &sound[..sound.len() - 1]).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::WrongSize { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::Io { .. })));
        fs::write(folder.path().join(PREPARED), b"{\"format\": 1").unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::BadJson { .. })));
        fs::write(folder.path().join(PREPARED), b"{\"format\": 99}").unwrap();
        assert!(matches!(
            read(folder.path()),
            Err(CacheError::UnsupportedVersion { found: 99, .. })
        ));
    }

    #[test]
    fn work_units_that_skip_or_return_are_refused() {
        let mut rows = Rows::default();
        rows.place(0, Split::Train, 0).unwrap();
        assert!(rows.place(1, Split::Train, 2).unwrap_err().contains("train-000002"));
        rows.place(1, Split::Train, 1).unwrap();
        assert!(rows.place(2, Split::Train, 0).is_err());
        rows.place(2, Split::Validation, 0).unwrap();
        assert_eq!(rows.units.len(), 3);
    }
}
