//! The parts of the prepared corpus on disk, and the descriptions that make them parts.
//!
//! The first part is `corpus/samples.arrow`, `corpus/tokens.u32` and, committed after them, `corpus/prepared.json`; the
//! next is `samples-001.arrow`, `tokens-001.u32` and `prepared-001.json`, and so on. Files without their description are
//! no part. Each description but the first also carries the blake3 of the one before it: the parts are a chain, and one
//! that is missing in the middle or belongs to another chain is an error.
//!
//! Parts of format 2 are one Parquet table, `samples.parquet`. They are read into memory; nothing writes them any more.

use std::{
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type},
};
use leadspan_files::commit_bytes;
use leadspan_parquet_guard::check_pages;
use leadspan_sequence::{SectionBounds, Split};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CacheError,
    corpus::{
        Columns, ColumnsBuilder, CorpusPart, PreparedCorpus, SampleRef, WorkUnit,
        files::{self, CorpusWriter},
        next_number,
    },
    hashing::Region,
    json, mapping, parquet_files,
};

/// The version of a part of the corpus that this program writes.
const FORMAT: u32 = 3;

/// The version of parts that are one Parquet table.
const TABLE_FORMAT: u32 = 2;

/// Rows that are decoded at a time, to bound memory.
const BATCH_SAMPLES: usize = 1024;

/// What the description of a part holds.
#[derive(Serialize, Deserialize)]
struct Prepared {
    format: u32,
    /// blake3 of the description before it; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    table: Region,
    /// The file of tokens; absent in format 2, whose table has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<Region>,
    samples: u64,
    samples_per_shard: NonZeroU32,
    facts: Value,
}

/// The name of one of a part's files.
fn file_name(stem: &str, part: usize, extension: &str) -> String {
    match part {
        0 => format!("{stem}.{extension}"),
        _ => format!("{stem}-{part:03}.{extension}"),
    }
}

/// The name of a part's table.
fn table_name(part: usize) -> String {
    file_name("samples", part, "arrow")
}

/// The name of a part's file of tokens.
fn tokens_name(part: usize) -> String {
    file_name("tokens", part, "u32")
}

/// The name of a part's table in format 2.
fn old_table_name(part: usize) -> String {
    file_name("samples", part, "parquet")
}

/// The name of a part's description.
fn description_name(part: usize) -> String {
    file_name("prepared", part, "json")
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

/// The columns of a table of format 2.
fn old_schema() -> SchemaRef {
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

/// A part that is about to be written.
pub(crate) struct NewPart<'a> {
    /// How many parts there are already.
    pub(crate) number: usize,
    /// The work units of its samples.
    pub(crate) units: &'a [WorkUnit],
    pub(crate) samples_per_shard: NonZeroU32,
    pub(crate) facts: Value,
}

/// Writes the files and the description of a part into `folder`, which has the parts before it. `fill` pushes its samples,
/// as many as its work units have, in their order.
pub(crate) fn write_part(
    folder: &Path,
    part: NewPart<'_>,
    fill: &mut dyn FnMut(&mut CorpusWriter) -> Result<(), CacheError>,
) -> Result<(), CacheError> {
    let number = part.number;
    let after = match number.checked_sub(1) {
        None => None,
        Some(before) => {
            let path = folder.join(description_name(before));
            let bytes = fs::read(&path).map_err(CacheError::io("read", &path))?;
            Some(blake3::hash(&bytes).to_hex().to_string())
        }
    };
    let mut writer = CorpusWriter::create(&folder.join(tokens_name(number)))?;
    fill(&mut writer)?;
    let written = writer.finish(&folder.join(table_name(number)), part.units)?;
    let prepared = Prepared {
        format: FORMAT,
        after,
        table: written.table,
        tokens: Some(written.tokens),
        samples: part.units.iter().map(|unit| unit.samples.len() as u64).sum(),
        samples_per_shard: part.samples_per_shard,
        facts: part.facts,
    };
    Ok(commit_bytes(
        &folder.join(description_name(number)),
        &json::to_bytes(&prepared),
    )?)
}

/// Reads the corpus in `folder`, or `None` where none was committed.
pub(crate) fn read(folder: &Path) -> Result<Option<PreparedCorpus>, CacheError> {
    let mut units = UnitPlacement::default();
    let mut columns: Vec<Arc<Columns>> = Vec::new();
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
        let prepared = description(&bytes, &path)?;
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
        let (first, first_unit) = (units.samples, units.units.len());
        let of_part = read_part(folder, number, &prepared, &mut units)?;
        columns.push(Arc::new(of_part));
        parts.push(CorpusPart {
            samples: first..units.samples,
            units: first_unit..units.units.len(),
            facts: prepared.facts,
        });
        before = Some((path, blake3::hash(&bytes).to_hex().to_string(), samples_per_shard));
    }
    Ok(before.map(|(.., samples_per_shard)| PreparedCorpus::new(columns, units.units, parts, samples_per_shard)))
}

/// What a description says, whose format and contents fit each other.
fn description(bytes: &[u8], path: &Path) -> Result<Prepared, CacheError> {
    let prepared: Prepared = json::from_bytes_of(bytes, path, &[TABLE_FORMAT, FORMAT])?;
    if (prepared.format == TABLE_FORMAT) == prepared.tokens.is_some() {
        let problem = format!("a part of format {} has other files than it names", prepared.format);
        return Err(CacheError::Inconsistent {
            path: path.to_owned(),
            problem,
        });
    }
    Ok(prepared)
}

/// Compares the tokens of every part in `folder` with their checksums. The corpus was read from there.
pub(crate) fn verify_tokens(folder: &Path, corpus: &PreparedCorpus) -> Vec<CacheError> {
    let verify = |(number, columns): (usize, &Arc<Columns>)| {
        let path = folder.join(description_name(number));
        let bytes = fs::read(&path).map_err(CacheError::io("read", &path))?;
        match description(&bytes, &path)?.tokens {
            Some(tokens) => files::verify_tokens(columns, &tokens),
            None => Ok(()),
        }
    };
    let parts = corpus.columns().iter().enumerate();
    parts.filter_map(|part| verify(part).err()).collect()
}

/// Opens a part, whose samples are added to `units`.
fn read_part(
    folder: &Path,
    number: usize,
    prepared: &Prepared,
    units: &mut UnitPlacement,
) -> Result<Columns, CacheError> {
    units.begin_part();
    let (path, columns) = match &prepared.tokens {
        None => {
            let path = folder.join(old_table_name(number));
            let columns = read_table(&path, prepared, units)?;
            (path, columns)
        }
        Some(tokens) => {
            let (path, tokens_path) = (folder.join(table_name(number)), folder.join(tokens_name(number)));
            let mut place = |split, unit| units.place(split, unit);
            let columns = files::open(&path, &prepared.table, &tokens_path, tokens, &mut place)?;
            (path, columns)
        }
    };
    if columns.len() as u64 != prepared.samples {
        let (samples, expected) = (columns.len(), prepared.samples);
        let problem = format!("it has {samples} samples where {expected} were committed");
        return Err(CacheError::Inconsistent { path, problem });
    }
    Ok(columns)
}

/// Reads a table of format 2 into memory.
fn read_table(path: &Path, prepared: &Prepared, units: &mut UnitPlacement) -> Result<Columns, CacheError> {
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
    if reader.schema().fields() != old_schema().fields() {
        return Err(inconsistent("its columns are not those of a prepared corpus".into()));
    }
    let mut columns = ColumnsBuilder::default();
    let mut batches = parquet_files::guarded(path, || reader.with_batch_size(BATCH_SAMPLES).build())?;
    while let Some(batch) = parquet_files::guarded(path, || Ok(batches.next().transpose()?))? {
        add_batch(&mut columns, &batch, units).map_err(inconsistent)?;
    }
    Ok(columns.finish())
}

/// Adds the rows of a table of format 2.
fn add_batch(columns: &mut ColumnsBuilder, batch: &RecordBatch, units: &mut UnitPlacement) -> Result<(), String> {
    let numbers = |column: usize| batch.column(column).as_primitive::<UInt32Type>();
    let (ids, splits) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
    let tokens = batch.column(2).as_list::<i32>();
    let (prompt_ends, chain_of_thought_ends, unit_numbers) = (numbers(3), numbers(4), numbers(5));
    let row_hashes = batch.column(6).as_fixed_size_binary();
    for row in 0..batch.num_rows() {
        let index = units.samples;
        let split = match splits.value(row) {
            "train" => Split::Train,
            "validation" => Split::Validation,
            other => return Err(format!("sample {index} is of the unknown split `{other}`")),
        };
        let tokens = tokens.value(row);
        let tokens = tokens.as_primitive::<UInt32Type>().values();
        let bounds = SectionBounds::new(
            prompt_ends.value(row),
            chain_of_thought_ends.value(row),
            tokens.len() as u32,
        )
        .map_err(|error| format!("sample {index} has {error}"))?;
        units.place(split, unit_numbers.value(row))?;
        let sample = SampleRef {
            id: ids.value(row),
            split,
            bounds,
        };
        let row_hash = row_hashes.value(row).try_into().expect("the schema says 32 bytes");
        columns.push(sample, tokens, row_hash);
    }
    Ok(())
}

/// The work units of samples, as they come out of the parts.
#[derive(Default)]
struct UnitPlacement {
    /// How many samples there were.
    samples: usize,
    units: Vec<WorkUnit>,
    /// How many of the units belong to earlier parts.
    earlier_units: usize,
}

impl UnitPlacement {
    /// From here on, samples are those of the next part.
    fn begin_part(&mut self) {
        self.earlier_units = self.units.len();
    }

    /// Puts the next sample into the unit that its row names, which is the last one of its part or the next of its split.
    fn place(&mut self, split: Split, number: u32) -> Result<(), String> {
        let index = self.samples;
        if u32::try_from(index).is_err() {
            return Err(format!("it has more than {index} samples"));
        }
        self.samples += 1;
        if let Some(last) = self.units[self.earlier_units..].last()
            && last.split > split
        {
            return Err(format!(
                "sample {index} is a training sample behind a validation sample"
            ));
        }
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

    /// Writes the newest part of a corpus.
    fn write_newest_part(folder: &Path, corpus: &PreparedCorpus) -> Result<(), CacheError> {
        let newest = corpus.newest_part();
        let part = NewPart {
            number: corpus.parts().len() - 1,
            units: &corpus.units()[newest.units.clone()],
            samples_per_shard: corpus.samples_per_shard(),
            facts: newest.facts.clone(),
        };
        write_part(folder, part, &mut |files| {
            let mut indices = newest.samples.clone();
            indices
                .try_for_each(|index| files.push(corpus.sample(index), corpus.tokens(index)?, corpus.row_hash(index)))
        })
    }

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
        let samples = synthetic::appended(corpus.len(), 5);
        corpus
            .append(&samples, &synthetic::row_hashes(&samples), facts.into())
            .unwrap();
        write_newest_part(folder, corpus).unwrap();
    }

    fn assert_same(read: &PreparedCorpus, corpus: &PreparedCorpus) {
        assert_eq!(synthetic::samples_of(read), synthetic::samples_of(corpus));
        assert_eq!(synthetic::row_hashes_of(read), synthetic::row_hashes_of(corpus));
        let largest = |corpus: &PreparedCorpus| -> Vec<u32> {
            (0..corpus.len()).map(|index| corpus.largest_token(index)).collect()
        };
        assert_eq!(largest(read), largest(corpus));
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
            for name in [table_name(part), tokens_name(part), description_name(part)] {
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
                .flat_map(|part| [table_name(part), tokens_name(part), description_name(part)])
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
        assert_eq!(synthetic::samples_of(&only_first), synthetic::samples_of(&corpus)[..13]);
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
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            let (folder, _) = written(3);
            let name = folder.path().join(tokens_name(to));
            fs::copy(folder.path().join(tokens_name(from)), &name).unwrap();
            let error = match read(folder.path()) {
                // Of the same size: found as the samples are read.
                Ok(corpus) => {
                    let corpus = corpus.unwrap();
                    corpus.check_tokens(0..corpus.len()).unwrap_err()
                }
                Err(error) => error,
            };
            assert!(
                matches!(&error, CacheError::WrongSize { path, .. } | CacheError::Damaged { path, .. }
                    if *path == name),
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
        fs::write(&table, &sound).unwrap();
        let tokens = folder.path().join(tokens_name(1));
        let sound = fs::read(&tokens).unwrap();
        fs::write(&tokens, &sound[..sound.len() - 4]).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::WrongSize { .. })));
        fs::write(&tokens, &sound).unwrap();
        assert!(read(folder.path()).unwrap().is_some());
        fs::remove_file(&tokens).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::Io { .. })));
        fs::write(&tokens, &sound).unwrap();
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
    fn a_flipped_bit_in_the_tokens_is_found_when_its_sample_is_read_and_by_verifying() {
        let (folder, corpus) = written(2);
        let path = folder.path().join(tokens_name(1));
        let sound = fs::read(&path).unwrap();
        let first = corpus.newest_part().samples.start;
        for bit in (0..sound.len() * 8).step_by(31) {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            let read = read(folder.path()).unwrap().unwrap();
            let mut damaged = Vec::new();
            let mut tokens_before = 0;
            for index in 0..read.len() {
                match read.tokens(index) {
                    Ok(tokens) => assert_eq!(tokens, corpus.tokens(index).unwrap()),
                    Err(error) => {
                        assert!(matches!(&error, CacheError::Damaged { path: found, .. } if *found == path));
                        damaged.push(index);
                    }
                }
                if index >= first {
                    let end = tokens_before + read.sample(index).token_count();
                    assert_eq!(
                        damaged.contains(&index),
                        (tokens_before..end).contains(&(bit / 32)),
                        "bit {bit}"
                    );
                    tokens_before = end;
                }
            }
            assert_eq!(damaged.len(), 1, "bit {bit}");
            let problems = verify_tokens(folder.path(), &read);
            assert!(matches!(&problems[..], [CacheError::Damaged { path: found, .. }] if *found == path));
        }
        fs::write(&path, sound).unwrap();
        let sound = read(folder.path()).unwrap().unwrap();
        assert!(verify_tokens(folder.path(), &sound).is_empty());
    }

    #[test]
    fn a_description_that_names_the_files_of_another_format_is_refused() {
        let (folder, _) = written(1);
        let path = folder.path().join(description_name(0));
        let sound = fs::read_to_string(&path).unwrap();
        assert!(sound.contains("\"format\": 3"));
        fs::write(&path, sound.replace("\"format\": 3", "\"format\": 2")).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::Inconsistent { .. })));
        let mut stated: Value = serde_json::from_str(&sound).unwrap();
        stated.as_object_mut().unwrap().remove("tokens");
        fs::write(&path, json::to_bytes(&stated)).unwrap();
        assert!(matches!(read(folder.path()), Err(CacheError::Inconsistent { .. })));
    }

    #[test]
    fn work_units_that_skip_or_return_are_refused() {
        let mut units = UnitPlacement::default();
        units.place(Split::Train, 0).unwrap();
        let skipped = UnitPlacement {
            samples: 1,
            units: units.units.clone(),
            earlier_units: 0,
        }
        .place(Split::Train, 2);
        assert!(skipped.unwrap_err().contains("train-000002"));
        units.place(Split::Train, 1).unwrap();
        let mut other = UnitPlacement {
            units: units.units.clone(),
            ..UnitPlacement::default()
        };
        assert!(other.place(Split::Train, 0).is_err());
        units.place(Split::Validation, 0).unwrap();
        assert_eq!(units.units.len(), 3);
        let mut other = UnitPlacement {
            units: units.units.clone(),
            ..UnitPlacement::default()
        };
        assert!(
            other
                .place(Split::Train, 2)
                .unwrap_err()
                .contains("behind a validation sample")
        );
        // A later part goes on counting in units of its own.
        units.begin_part();
        let mut other = UnitPlacement {
            units: units.units.clone(),
            earlier_units: 3,
            ..UnitPlacement::default()
        };
        assert!(other.place(Split::Validation, 0).is_err());
        units.place(Split::Train, 2).unwrap();
        units.place(Split::Train, 2).unwrap();
        assert_eq!(units.units[3].samples, 3..5);
    }
}
