//! The Parquet files of a cache: shards and the prepared corpus, as they lie there and under checksums computed anew.

use std::{fs, io::Cursor, path::Path, rc::Rc, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, UInt32Array,
        UInt64Array,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema, UInt32Type, UInt64Type},
    ipc::{reader::FileReader, writer::FileWriter},
};
use bytes::Bytes;
use leadspan_cache::Cache;
use leadspan_distribution::codec::Precision;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder, arrow_writer::ArrowWriterOptions},
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use serde_json::{Value, json};

use crate::{
    cache::{Anatomy, DATA_START, SmallCache, read_all, region, sealed},
    harness::{Case, Reader},
    mutation::{Random, mutate_value, mutated, mutated_in_place},
};

pub(crate) fn readers() -> Vec<Reader> {
    let shards = |name, share, forge: fn(&Anatomy, &RecordBatch, &mut Random) -> Vec<u8>| {
        let caches = [Precision::Standard, Precision::Exact].map(|precision| {
            let cache = SmallCache::new(precision);
            let sound = fs::read(cache.shard()).unwrap();
            let rows = rows_of(&sound);
            (cache, Anatomy::of(sound), rows)
        });
        let mutate = move |random: &mut Random| {
            let (cache, anatomy, rows) = random.pick(&caches);
            let bytes = forge(anatomy, rows, random);
            cache.put(&bytes);
            let dir = cache.dir();
            Case {
                bytes: bytes.len(),
                read: Box::new(move || read_all(&dir)),
            }
        };
        Reader {
            name,
            share,
            mutate: Box::new(mutate),
        }
    };
    vec![
        shards("shards", 60, |anatomy, _, random| mutated(&anatomy.bytes, random)),
        shards("shards-sealed-tail", 80, |anatomy, _, random| {
            anatomy.with_tail(&mutated(anatomy.tail(), random))
        }),
        shards("shards-sealed-head", 80, |anatomy, _, random| {
            let head = mutated_in_place(&anatomy.bytes[anatomy.head.clone()], random);
            anatomy.with_data(anatomy.head.clone(), &head)
        }),
        shards("shards-sealed-block", 80, |anatomy, _, random| {
            let place = random.pick(&anatomy.blocks).clone();
            let coded = mutated_in_place(&anatomy.bytes[place.start + 4..place.end], random);
            let block = [&crc32fast::hash(&coded).to_le_bytes()[..], &coded].concat();
            anatomy.with_data(place, &block)
        }),
        shards("shards-rewritten", 80, rewritten_shard),
        corpus(&OLD_TABLE, "corpus-2-table", 40, |sound, _, random| {
            mutated(sound, random)
        }),
        corpus(&OLD_TABLE, "corpus-2-rewritten", 40, |_, rows, random| {
            as_parquet(&other_rows(rows, random))
        }),
        corpus(&TABLE, "corpus-table", 40, |sound, _, random| mutated(sound, random)),
        corpus(&TABLE, "corpus-rewritten", 40, |_, rows, random| {
            as_arrow(&other_rows(rows, random))
        }),
        corpus(&TOKENS, "corpus-tokens", 20, |sound, _, random| mutated(sound, random)),
    ]
}

fn rows_of(file: &[u8]) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).unwrap();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// One of the numbers replaced, or several.
fn other_numbers(numbers: &[u32], random: &mut Random) -> Vec<u32> {
    let mut numbers = numbers.to_vec();
    for _ in 0..=random.below(3) {
        let place = random.below(numbers.len());
        if let Some(number) = numbers.get_mut(place) {
            *number = random.extreme(u64::from(*number)) as u32;
        }
    }
    numbers
}

fn other_list(lists: &ListArray, random: &mut Random) -> ListArray {
    let values = lists.values().as_primitive::<UInt32Type>().values();
    let mut lengths: Vec<usize> = lists.offsets().lengths().collect();
    let mut values = if random.once_in(2) {
        other_numbers(values, random)
    } else {
        values.to_vec()
    };
    match random.below(4) {
        0 => {
            let (from, to) = (random.below(lengths.len()), random.below(lengths.len()));
            let moved = random.below(lengths[from] + 1);
            lengths[from] -= moved;
            lengths[to] += moved;
        }
        1 => {
            let added = random.below(5000);
            lengths[0] += added;
            values.splice(0..0, (0..added as u32).map(|value| value * 3));
        }
        2 => {
            let last = lengths.iter_mut().rev().find(|length| **length > 0);
            *last.unwrap() -= 1;
            values.pop();
        }
        _ => {}
    }
    let item = Arc::new(Field::new("element", DataType::UInt32, false));
    ListArray::new(
        item,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(UInt32Array::from(values)),
        None,
    )
}

fn other_column(column: &ArrayRef, random: &mut Random) -> ArrayRef {
    match column.data_type() {
        DataType::UInt32 => {
            let numbers = column.as_primitive::<UInt32Type>().values();
            Arc::new(UInt32Array::from(other_numbers(numbers, random)))
        }
        DataType::UInt64 => {
            let mut numbers = column.as_primitive::<UInt64Type>().values().to_vec();
            let place = random.below(numbers.len());
            numbers[place] = random.extreme(numbers[place]);
            Arc::new(UInt64Array::from(numbers))
        }
        DataType::List(_) => Arc::new(other_list(column.as_list(), random)),
        DataType::Binary => {
            let mut values: Vec<Vec<u8>> = column.as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec).collect();
            let place = random.below(values.len());
            values[place] = mutated(&values[place], random);
            Arc::new(BinaryArray::from_iter_values(values))
        }
        DataType::Utf8 => {
            let mut values: Vec<String> = column.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
            let place = random.below(values.len());
            values[place] = random.pick(&["", "validation", "train", "another"]).to_string();
            Arc::new(StringArray::from(values))
        }
        _ => Arc::clone(column),
    }
}

/// The rows with a column or two changed, or some of them only.
fn other_rows(rows: &RecordBatch, random: &mut Random) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    for _ in 0..random.below(3) {
        let place = random.below(columns.len());
        columns[place] = other_column(&columns[place], random);
    }
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    if random.once_in(5) {
        let start = random.below(rows.num_rows());
        return rows.slice(start, random.below(rows.num_rows() - start + 1));
    }
    rows
}

/// A shard written anew with other rows or another description, all checksums those of what is there.
fn rewritten_shard(anatomy: &Anatomy, rows: &RecordBatch, random: &mut Random) -> Vec<u8> {
    let rows = other_rows(rows, random);
    let block = ColumnPath::from("block");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_encoding(Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(block.clone(), Encoding::PLAIN)
        .set_column_compression(block, Compression::UNCOMPRESSED)
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options).unwrap();
    writer.write_all(&[0; DATA_START - 4]).unwrap();
    writer.write(&rows).unwrap();
    writer.flush().unwrap();
    let mut footer = anatomy.footer.clone();
    let group = writer
        .flushed_row_groups()
        .last()
        .map(|group| group.column(6).byte_range().0 as usize);
    writer.sync().unwrap();
    let data_end = writer.inner().len();
    footer["row_groups"] = group.map_or_else(
        || json!([]),
        |blocks_at| {
            let positions: u64 = rows
                .column(2)
                .as_primitive::<UInt32Type>()
                .values()
                .iter()
                .map(|&n| u64::from(n))
                .sum();
            json!([{
                "blocks": rows.num_rows(),
                "positions": positions,
                "head": region(&writer.inner()[DATA_START..blocks_at]),
                "data": region(&writer.inner()[DATA_START..]),
            }])
        },
    );
    footer["positions"] = footer["row_groups"][0]["positions"].as_u64().unwrap_or(0).into();
    if random.once_in(3) {
        mutate_value(&mut footer, random);
    }
    writer.append_key_value_metadata(KeyValue::new("leadspan".to_owned(), footer.to_string()));
    let file = writer.into_inner().unwrap();
    sealed(&file[..data_end], &file[data_end..])
}

/// A reader of one of the files of a corpus, which `forge` changes.
fn corpus(file: &'static CorpusFile, name: &'static str, share: u64, forge: ForgeCorpus) -> Reader {
    let cache = SmallCache::new(Precision::Standard);
    let folder = cache.dir().join("corpus");
    if file.format == 2 {
        put_old_corpus(&cache.dir());
    }
    let sound = fs::read(folder.join(file.name)).unwrap();
    let description: Value = serde_json::from_slice(&fs::read(folder.join("prepared.json")).unwrap()).unwrap();
    let rows = (file.rows)(&sound);
    let cache = Rc::new(cache);
    let mutate = move |random: &mut Random| {
        let bytes = forge(&sound, &rows, random);
        // Nearly always under a description that fits.
        let mut description = description.clone();
        if !random.once_in(10) {
            description[file.checksum] = region(&bytes);
        }
        fs::write(folder.join(file.name), &bytes).unwrap();
        fs::write(folder.join("prepared.json"), serde_json::to_vec(&description).unwrap()).unwrap();
        let cache = Rc::clone(&cache);
        Case {
            bytes: bytes.len(),
            read: Box::new(move || read_all(&cache.dir())),
        }
    };
    Reader {
        name,
        share,
        mutate: Box::new(mutate),
    }
}

type ForgeCorpus = fn(&[u8], &RecordBatch, &mut Random) -> Vec<u8>;

/// A file of a prepared corpus.
struct CorpusFile {
    /// The format of the corpus.
    format: u32,
    name: &'static str,
    /// Where its description has size and blake3 of the file.
    checksum: &'static str,
    /// The rows in it.
    rows: fn(&[u8]) -> RecordBatch,
}

const OLD_TABLE: CorpusFile = CorpusFile {
    format: 2,
    name: "samples.parquet",
    checksum: "table",
    rows: rows_of,
};

const TABLE: CorpusFile = CorpusFile {
    format: 3,
    name: "samples.arrow",
    checksum: "table",
    rows: |file| {
        FileReader::try_new(Cursor::new(file), None)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
    },
};

const TOKENS: CorpusFile = CorpusFile {
    format: 3,
    name: "tokens.u32",
    checksum: "tokens",
    rows: |_| RecordBatch::new_empty(Arc::new(Schema::empty())),
};

/// Puts the corpus of a cache down as format 2 had it.
fn put_old_corpus(dir: &Path) {
    let corpus = Cache::open(dir).unwrap().require_corpus().unwrap();
    let folder = dir.join("corpus");
    let samples = || corpus.samples();
    let item = Arc::new(Field::new("element", DataType::UInt32, false));
    let tokens: Vec<u32> = (0..corpus.len())
        .flat_map(|index| corpus.tokens(index).unwrap().to_vec())
        .collect();
    let hashes: Vec<u8> = (0..corpus.len()).flat_map(|index| *corpus.row_hash(index)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "sample_id",
            Arc::new(StringArray::from_iter_values(samples().map(|sample| sample.id))),
        ),
        (
            "split",
            Arc::new(StringArray::from_iter_values(
                samples().map(|sample| sample.split.as_str()),
            )),
        ),
        (
            "tokens",
            Arc::new(ListArray::new(
                item,
                OffsetBuffer::from_lengths(samples().map(|sample| sample.token_count())),
                Arc::new(UInt32Array::from(tokens)),
                None,
            )),
        ),
        (
            "prompt_end",
            Arc::new(
                samples()
                    .map(|sample| Some(sample.bounds.prompt_end()))
                    .collect::<UInt32Array>(),
            ),
        ),
        (
            "chain_of_thought_end",
            Arc::new(
                samples()
                    .map(|sample| Some(sample.bounds.chain_of_thought_end()))
                    .collect::<UInt32Array>(),
            ),
        ),
        ("work_unit", Arc::new(UInt32Array::from(vec![0; corpus.len()]))),
        ("row_hash", Arc::new(FixedSizeBinaryArray::new(32, hashes.into(), None))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), false))
        .collect();
    let rows = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .unwrap();
    let table = as_parquet(&rows);
    let path = folder.join("prepared.json");
    let mut description: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    description["format"] = json!(2);
    description["table"] = region(&table);
    description.as_object_mut().unwrap().remove("tokens");
    fs::write(folder.join("samples.parquet"), table).unwrap();
    fs::write(path, serde_json::to_vec(&description).unwrap()).unwrap();
    read_all(dir).unwrap();
}

fn as_parquet(rows: &RecordBatch) -> Vec<u8> {
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

fn as_arrow(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}
