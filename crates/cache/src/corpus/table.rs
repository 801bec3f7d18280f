//! The prepared corpus on disk: one table of samples and, committed after it, one description a part.
//!
//! The first part is `corpus/samples.parquet` and `corpus/prepared.json`, the next `samples-001.parquet` and
//! `prepared-001.json`, and so on. A description carries size and blake3 of its table, so a table is checked whole before
//! it is parsed; without its description there is no part, whatever else lies in the folder. Each description but the
//! first also carries the blake3 of the one before it: the parts are a chain, and one that is missing in the middle or
//! belongs to another chain is an error.

use std::{
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, UInt32Array},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
};
use leadspan_files::{PendingFile, commit_bytes};
use leadspan_parquet_guard::check_pages;
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
    corpus::{CorpusPart, PreparedCorpus, WorkUnit, next_number},
    hashing::{HashingWriter, Region},
    json, mapping,
    parquet_files::{self, Finished},
};

/// Rows that are encoded at a time, to bound memory.
const BATCH_SAMPLES: usize = 1024;

/// What the description of a part holds.
#[derive(Serialize, Deserialize)]
struct Prepared {
    format: u32,
    /// blake3 of the description before it; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    table: Region,
    samples: u64,
    samples_per_shard: NonZeroU32,
    facts: Value,
}

/// The name of a part's table.
fn table_name(part: usize) -> String {
    match part {
        0 => "samples.parquet".to_owned(),
        _ => format!("samples-{part:03}.parquet"),
    }
}

/// The name of a part's description.
fn description_name(part: usize) -> String {
    match part {
        0 => "prepared.json".to_owned(),
        _ => format!("prepared-{part:03}.json"),
    }
}

/// Which part a file of the folder describes.
fn described_part(name: &str) -> Option<usize> {
    let part = match name.strip_prefix("prepared-") {
        None => 0,
        Some(rest) => rest.strip_suffix(".json")?.parse().ok()?,
    };
    (description_name(part) == name).then_some(part)
}

/// How many parts `folder` has by the number of the last description in it.
pub(crate) fn count_parts(folder: &Path) -> Result<usize, CacheError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(CacheError::io("list", folder)(error)),
    };
    let mut parts = 0;
    for entry in entries {
        let name = entry.map_err(CacheError::io("list", folder))?.file_name();
        if let Some(part) = name.to_str().and_then(described_part) {
            parts = parts.max(part + 1);
        }
    }
    Ok(parts)
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

/// Writes table and description of the newest part of `corpus` into `folder`, which has the others.
pub(crate) fn write_newest_part(folder: &Path, corpus: &PreparedCorpus) -> Result<(), CacheError> {
    let (number, part) = (corpus.parts().len() - 1, corpus.newest_part());
    let after = match number.checked_sub(1) {
        None => None,
        Some(before) => {
            let path = folder.join(description_name(before));
            let bytes = fs::read(&path).map_err(CacheError::io("read", &path))?;
            Some(blake3::hash(&bytes).to_hex().to_string())
        }
    };
    let path = folder.join(table_name(number));
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
    for unit in &corpus.units()[part.units.clone()] {
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
        after,
        table: Region {
            bytes,
            blake3: hash.to_hex().to_string(),
        },
        samples: part.samples.len() as u64,
        samples_per_shard: corpus.samples_per_shard(),
        facts: part.facts.clone(),
    };
    Ok(commit_bytes(
        &folder.join(description_name(number)),
        &json::to_bytes(&prepared),
    )?)
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
    let mut rows = Rows::default();
    let mut parts: Vec<CorpusPart> = Vec::new();
    // Path and blake3 of the description before, and how many samples all work units are planned for.
    let mut before: Option<(PathBuf, String, NonZeroU32)> = None;
    for number in 0..count_parts(folder)? {
        let path = folder.join(description_name(number));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CacheError::MissingPart { path }),
            Err(error) => return Err(CacheError::io("read", path)(error)),
        };
        let prepared: Prepared = json::from_bytes(&bytes, &path)?;
        let follows = before.as_ref().map(|(_, blake3, _)| blake3);
        if prepared.after.as_ref() != follows {
            let before = before.map(|(path, ..)| path);
            return Err(CacheError::ForeignPart { path, before });
        }
        let samples_per_shard = prepared.samples_per_shard;
        if let Some((.., planned)) = before
            && planned != samples_per_shard
        {
            let problem = format!("its work units have {samples_per_shard} samples where others have {planned}");
            return Err(CacheError::Inconsistent { path, problem });
        }
        let (samples, units) = (rows.samples.len(), rows.units.len());
        read_table(&folder.join(table_name(number)), &prepared, &mut rows)?;
        parts.push(CorpusPart {
            samples: samples..rows.samples.len(),
            units: units..rows.units.len(),
            facts: prepared.facts,
        });
        before = Some((path, blake3::hash(&bytes).to_hex().to_string(), samples_per_shard));
    }
    let Rows {
        samples,
        row_hashes,
        units,
        ..
    } = rows;
    Ok(before.map(|(.., samples_per_shard)| PreparedCorpus::new(samples, row_hashes, units, parts, samples_per_shard)))
}

/// Adds the samples of a part's table to `rows`.
fn read_table(path: &Path, prepared: &Prepared, rows: &mut Rows) -> Result<(), CacheError> {
    let inconsistent = |problem| CacheError::Inconsistent {
        path: path.to_owned(),
        problem,
    };
    let table = mapping::map(path)?;
    let found = table.len() as u64;
    if found != prepared.table.bytes {
        return Err(CacheError::WrongSize {
            path: path.to_owned(),
            found,
            expected: prepared.table.bytes,
        });
    }
    if !prepared.table.matches(&table) {
        return Err(CacheError::Damaged {
            path: path.to_owned(),
            part: "contents".to_owned(),
        });
    }
    let reader = parquet_files::guarded(path, || {
        let reader = ParquetRecordBatchReaderBuilder::try_new(table.clone())?;
        check_pages(&table, reader.metadata(), |_, _| true)?;
        Ok(reader)
    })?;
    if reader.schema().fields() != schema().fields() {
        return Err(inconsistent("its columns are not those of a prepared corpus".into()));
    }
    let before = rows.samples.len();
    rows.begin_part();
    let mut batches = parquet_files::guarded(path, || reader.with_batch_size(BATCH_SAMPLES).build())?;
    while let Some(batch) = parquet_files::guarded(path, || Ok(batches.next().transpose()?))? {
        rows.add(&batch).map_err(inconsistent)?;
    }
    let samples = rows.samples.len() - before;
    if samples as u64 != prepared.samples {
        let problem = format!("it has {samples} samples where {} were committed", prepared.samples);
        return Err(inconsistent(problem));
    }
    Ok(())
}

/// Samples as they come out of the tables.
#[derive(Default)]
struct Rows {
    samples: Vec<Sample>,
    row_hashes: Vec<[u8; 32]>,
    units: Vec<WorkUnit>,
    /// How many of the units belong to earlier parts.
    earlier_units: usize,
}

impl Rows {
    /// From here on, samples are those of the next part.
    fn begin_part(&mut self) {
        self.earlier_units = self.units.len();
    }

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

    /// Puts a sample into the unit that its row names, which is the last one of its part or the next of its split.
    fn place(&mut self, index: usize, split: Split, number: u32) -> Result<(), String> {
        if let Some(unit) = self.units[self.earlier_units..].last_mut()
            && (unit.split, unit.number) == (split, number)
        {
            unit.samples.end = index + 1;
            return Ok(());
        }
        let expected = next_number(self.units.iter(), split);
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
    use leadspan_diagnosis::Diagnosis as _;

    use super::*;
    use crate::tests::synthetic;

    /// A folder with a corpus of these many parts.
    fn written(parts: usize) -> (tempfile::TempDir, PreparedCorpus) {
        let folder = tempfile::tempdir().unwrap();
        let mut corpus = synthetic::corpus(9, 4, 4);
        write_newest_part(folder.path(), &corpus).unwrap();
        for part in 1..parts {
            append(folder.path(), &mut corpus, part);
        }
        (folder, corpus)
    }

    /// Puts five samples behind a corpus, in memory and on disk.
    fn append(folder: &Path, corpus: &mut PreparedCorpus, facts: usize) {
        let samples = synthetic::appended(corpus.samples().len(), 5);
        corpus
            .append(&samples, &synthetic::row_hashes(&samples), facts.into())
            .unwrap();
        write_newest_part(folder, corpus).unwrap();
    }

    fn assert_same(read: &PreparedCorpus, corpus: &PreparedCorpus) {
        assert_eq!(read.samples(), corpus.samples());
        assert_eq!(read.row_hashes(), corpus.row_hashes());
        assert_eq!(read.units(), corpus.units());
        assert_eq!(read.parts(), corpus.parts());
        assert_eq!(read.samples_per_shard(), corpus.samples_per_shard());
    }

    #[test]
    fn a_corpus_of_any_number_of_parts_reads_back_as_it_was_written() {
        for parts in 1..=4 {
            let (folder, corpus) = written(parts);
            let read = read(folder.path()).unwrap().unwrap();
            assert_eq!(read.parts().len(), parts);
            assert_same(&read, &corpus);
        }
    }

    #[test]
    fn a_part_without_samples_reads_back_too() {
        let (folder, mut corpus) = written(1);
        corpus.append(&[], &[], "nothing new".into()).unwrap();
        write_newest_part(folder.path(), &corpus).unwrap();
        append(folder.path(), &mut corpus, 2);
        let read = read(folder.path()).unwrap().unwrap();
        assert_eq!(read.parts()[1].samples, 13..13);
        assert_same(&read, &corpus);
    }

    #[test]
    fn the_same_corpus_gives_the_same_bytes() {
        let ((one, _), (other, _)) = (written(3), written(3));
        for part in 0..3 {
            for name in [table_name(part), description_name(part)] {
                assert_eq!(
                    fs::read(one.path().join(&name)).unwrap(),
                    fs::read(other.path().join(&name)).unwrap(),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn an_appended_part_leaves_the_files_of_the_earlier_ones_as_they_are() {
        let (folder, mut corpus) = written(2);
        let contents = || {
            (0..2)
                .flat_map(|part| [table_name(part), description_name(part)])
                .map(|name| fs::read(folder.path().join(name)).unwrap())
                .collect::<Vec<_>>()
        };
        let before = contents();
        append(folder.path(), &mut corpus, 2);
        assert_eq!(contents(), before);
    }

    #[test]
    fn a_table_without_its_description_is_no_part() {
        let (folder, corpus) = written(2);
        fs::remove_file(folder.path().join("prepared-001.json")).unwrap();
        let only_first = read(folder.path()).unwrap().unwrap();
        assert_eq!(only_first.parts(), &corpus.parts()[..1]);
        assert_eq!(only_first.samples(), &corpus.samples()[..13]);
        fs::remove_file(folder.path().join("prepared.json")).unwrap();
        assert!(read(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_part_that_is_missing_before_others_is_named() {
        for (missing, last) in [("prepared.json", 1), ("prepared-001.json", 2), ("prepared-002.json", 3)] {
            let (folder, _) = written(last + 1);
            fs::remove_file(folder.path().join(missing)).unwrap();
            let error = read(folder.path()).unwrap_err();
            assert!(
                matches!(&error, CacheError::MissingPart { path } if path.ends_with(missing)),
                "{error}"
            );
            assert!(error.hint().unwrap().contains("restore") && !error.is_unexpected());
        }
    }

    #[test]
    fn descriptions_that_do_not_follow_each_other_are_refused() {
        // The chain breaks behind whatever changed: other facts in a part, the first part of another corpus, a part
        // in another's place.
        type Change = fn(&Path);
        let changes: [(Change, &str); 4] = [
            (
                |folder| {
                    let path = folder.join("prepared-001.json");
                    let text = fs::read_to_string(&path).unwrap();
                    assert!(text.contains("\"facts\": 1"));
                    fs::write(&path, text.replace("\"facts\": 1", "\"facts\": 7")).unwrap();
                },
                "prepared-002.json",
            ),
            (
                |folder| {
                    let path = folder.join("prepared.json");
                    fs::write(&path, fs::read_to_string(&path).unwrap() + "\n").unwrap();
                },
                "prepared-001.json",
            ),
            (
                |folder| {
                    fs::copy(folder.join("prepared-002.json"), folder.join("prepared-001.json")).unwrap();
                },
                "prepared-001.json",
            ),
            (
                |folder| {
                    fs::copy(folder.join("prepared-001.json"), folder.join("prepared.json")).unwrap();
                },
                "prepared.json",
            ),
        ];
        for (change, refused) in changes {
            let (folder, _) = written(3);
            change(folder.path());
            let error = read(folder.path()).unwrap_err();
            assert!(
                matches!(&error, CacheError::ForeignPart { path, .. } if path.ends_with(refused)),
                "{error}"
            );
            assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn the_table_of_another_part_is_refused() {
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            let (folder, _) = written(3);
            fs::copy(folder.path().join(table_name(from)), folder.path().join(table_name(to))).unwrap();
            let error = read(folder.path()).unwrap_err();
            assert!(
                matches!(&error, CacheError::WrongSize { path, .. } | CacheError::Damaged { path, .. }
                    if path.ends_with(table_name(to))),
                "{error}"
            );
        }
    }

    #[test]
    fn other_names_in_the_folder_are_no_parts() {
        let (folder, corpus) = written(2);
        for name in [
            "prepared-1.json",
            "prepared-0002.json",
            "prepared-000.json",
            "prepared-+02.json",
            ".prepared-002.json.x.tmp",
            "prepared-002.json.bak",
        ] {
            fs::write(folder.path().join(name), b"{}").unwrap();
        }
        assert_same(&read(folder.path()).unwrap().unwrap(), &corpus);
        assert_eq!(described_part("prepared-1000.json"), Some(1000));
    }

    #[test]
    fn a_damaged_table_or_description_is_found() {
        let (folder, _) = written(2);
        let (table, description) = (
            folder.path().join(table_name(1)),
            folder.path().join(description_name(1)),
        );
        let sound = fs::read(&table).unwrap();
        for bit in (0..sound.len() * 8).step_by(97) {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&table, flipped).unwrap();
            assert!(
                matches!(read(folder.path()), Err(CacheError::Damaged { .. })),
                "bit {bit}"
            );
        }
        fs::write(&table, &sound[..sound.len() - 1]).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::WrongSize { .. })));
        fs::remove_file(&table).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::Io { .. })));
        fs::write(&description, b"{\"format\": 1").unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::BadJson { .. })));
        fs::write(&description, b"{\"format\": 99}").unwrap();
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
        // A later part goes on counting in units of its own.
        rows.begin_part();
        assert!(rows.place(3, Split::Validation, 0).is_err());
        rows.place(3, Split::Train, 2).unwrap();
        rows.place(4, Split::Train, 2).unwrap();
        assert_eq!(rows.units[3].samples, 3..5);
    }
}
