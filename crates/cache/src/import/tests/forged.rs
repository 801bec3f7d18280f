//! Exports whose list fits files that nobody exported.

use std::{fs, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, Float32Array, ListArray, RecordBatch, StringArray, UInt32Array},
    buffer::OffsetBuffer,
    datatypes::{DataType, UInt32Type},
};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_sequence::SectionSet;
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use super::*;
use crate::export_dataset;

const SAMPLES: &str = "samples/train-00000-of-00001.parquet";
const DATA: &str = "data/validation-00000-of-00001.parquet";

/// Writes the file `name` of the export in `dir` anew, with the column `column` that `change` makes of its own, and lists its
/// hash.
fn forge(dir: &Path, name: &str, column: &str, change: impl Fn(&ArrayRef) -> ArrayRef) {
    let path = dir.join(name);
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let rows = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let mut columns = rows.columns().to_vec();
    let place = rows.schema().index_of(column).unwrap();
    columns[place] = change(&columns[place]);
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(&path).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let blake3 = blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
    relist(dir, |list| {
        let files = list["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["path"] == name).unwrap();
        file["blake3"] = blake3.as_str().into();
    });
}

fn relist(dir: &Path, change: impl Fn(&mut Value)) {
    let path = dir.join(ExportList::NAME);
    let mut list: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut list);
    fs::write(&path, serde_json::to_vec_pretty(&list).unwrap()).unwrap();
}

/// The first numbers of a column replaced.
fn numbers(column: &ArrayRef, first: &[u32]) -> ArrayRef {
    let mut numbers = column.as_primitive::<UInt32Type>().values().to_vec();
    numbers[..first.len()].copy_from_slice(first);
    Arc::new(UInt32Array::from(numbers))
}

/// Lists of which the first has the values of the first two.
fn joined(column: &ArrayRef) -> ArrayRef {
    let lists = column.as_list::<i32>();
    let mut lengths: Vec<usize> = lists.offsets().lengths().collect();
    lengths[0] += std::mem::take(&mut lengths[1]);
    let DataType::List(item) = lists.data_type() else {
        panic!("no list")
    };
    Arc::new(ListArray::new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        Arc::clone(lists.values()),
        None,
    ))
}

#[test]
fn files_that_fit_their_list_and_cannot_be_right_are_refused_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cache = captured(&at("cache"), synthetic::coverage("1.0", SectionSet::ALL));
    let refused = |change: &dyn Fn(&Path), said: &str| {
        let export = at("export");
        export_dataset(&cache, &export, &folder_settings(), &mut |_| {}).unwrap();
        change(&export);
        let error = imported(&at("again"), std::slice::from_ref(&export)).unwrap_err();
        assert!(error.to_string().contains(said), "{said}: {error}");
        assert!(!error.is_unexpected() && error.hint().is_some(), "{error}");
        assert!(!at("again").exists(), "{error}");
        fs::remove_dir_all(export).unwrap();
    };
    let twice = |column: &ArrayRef| -> ArrayRef {
        let ids: Vec<&str> = column.as_string::<i32>().iter().flatten().collect();
        Arc::new(StringArray::from_iter_values(
            [&[ids[0]][..], &ids[..ids.len() - 1]].concat(),
        ))
    };
    refused(&|dir| forge(dir, SAMPLES, "sample_id", twice), "is there twice");
    refused(
        &|dir| forge(dir, SAMPLES, "prompt_end", |column| numbers(column, &[100_000])),
        "row 1 of",
    );
    refused(&|dir| forge(dir, SAMPLES, "tokens", joined), "row 2 of");
    refused(
        &|dir| forge(dir, DATA, "position", |column| numbers(column, &[7])),
        "it is position 7 of",
    );
    refused(
        &|dir| forge(dir, DATA, "token_id", |column| numbers(column, &[49_999])),
        "its `token_id` is 49999",
    );
    refused(
        &|dir| {
            forge(dir, DATA, "token_ids", joined);
            forge(dir, DATA, "logprobs", joined);
        },
        "it has 8 entries, but the export has at most 4",
    );
    for (value, said) in [
        (f32::NAN, "`NaN` of the tail"),
        (0.5, "`0.5` of the tail"),
        (-0.1, "not to one"),
    ] {
        let tails = move |column: &ArrayRef| -> ArrayRef { Arc::new(Float32Array::from(vec![value; column.len()])) };
        refused(&|dir| forge(dir, DATA, "tail_logprob", tails), said);
    }
    // The rows of files, by which samples are held out.
    let moved = |list: &mut Value| {
        let files = list["files"].as_array_mut().unwrap();
        for (split, rows) in [("train", 12), ("validation", 2)] {
            let mut files = files.iter_mut();
            let file = files
                .find(|file| file["folder"] == "samples" && file["split"] == split)
                .unwrap();
            file["rows"] = rows.into();
        }
    };
    refused(&|dir| relist(dir, moved), "its files have other numbers of rows");
    refused(
        &|dir| relist(dir, |list| list["identity"]["entries"]["top_k"] = 0.into()),
        "`cache.top_k` is 0",
    );
}
