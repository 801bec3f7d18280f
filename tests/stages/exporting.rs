//! Exported distributions of one cache agree with those of another.

use std::{
    collections::BTreeMap,
    fs::{self, File},
};

use arrow::{
    array::{Array as _, ArrayRef, Float32Array, ListArray, RecordBatch, StringArray, UInt32Array},
    datatypes::DataType,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{PRECOMPUTE, TRAIN};
use crate::program::{Workplace, fixtures};

/// An exported table, by sample and position: section, target, entries, tail and probability of the target.
type Exported = BTreeMap<(String, u32), (String, u32, BTreeMap<u32, f32>, f32, f32)>;

fn exported(place: &Workplace, arguments: &[&str]) -> Exported {
    let mut command = vec!["cache", "export", "--out", "export.parquet", "--overwrite"];
    command.extend(arguments);
    place.succeed(&command);
    let file = File::open(place.path("export.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut rows = Exported::new();
    for batch in reader {
        let batch: RecordBatch = batch.unwrap();
        let column = |name: &str| -> ArrayRef { batch.column_by_name(name).unwrap().clone() };
        let numbers = |name: &str| {
            column(name)
                .as_any()
                .downcast_ref::<UInt32Array>()
                .unwrap()
                .values()
                .to_vec()
        };
        let floats = |name: &str| {
            column(name)
                .as_any()
                .downcast_ref::<Float32Array>()
                .unwrap()
                .values()
                .to_vec()
        };
        let text = |name: &str, row: usize| {
            column(name)
                .as_any()
                .downcast_ref::<StringArray>()
                .unwrap()
                .value(row)
                .to_owned()
        };
        let (positions, targets) = (numbers("position"), numbers("token_id"));
        let (tails, target_logprobs) = (floats("tail_logprob"), floats("target_logprob"));
        let (ids, logprobs) = (column("token_ids"), column("logprobs"));
        let ids = ids.as_any().downcast_ref::<ListArray>().unwrap();
        let logprobs = logprobs.as_any().downcast_ref::<ListArray>().unwrap();
        assert_eq!(ids.value_type(), DataType::UInt32);
        for row in 0..batch.num_rows() {
            let (ids, logprobs) = (ids.value(row), logprobs.value(row));
            let ids = ids.as_any().downcast_ref::<UInt32Array>().unwrap().values().to_vec();
            let logprobs = logprobs
                .as_any()
                .downcast_ref::<Float32Array>()
                .unwrap()
                .values()
                .to_vec();
            let entries = ids.into_iter().zip(logprobs).collect();
            let value = (
                text("section", row),
                targets[row],
                entries,
                tails[row],
                target_logprobs[row],
            );
            assert!(rows.insert((text("sample_id", row), positions[row]), value).is_none());
        }
    }
    rows
}

#[test]
fn a_whole_cache_read_at_one_half_is_the_cache_made_at_one_half() {
    // The longest samples have about 2,000 tokens.
    let place = Workplace::with_rows(60, 900);
    place.succeed(&PRECOMPUTE);
    place.succeed(&[
        "precompute",
        "-c",
        "pipeline.toml",
        "--set",
        "cache.dir=half",
        "--set",
        "cache.lead_span_proportion=0.5",
    ]);
    let (read, made) = (
        exported(&place, &["cache", "--proportion", "0.5"]),
        exported(&place, &["half"]),
    );
    assert!(made.keys().any(|(_, position)| *position > 900), "no sample is long");
    assert_eq!(read.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>());
    for (place, (section, target, entries, tail, target_logprob)) in &made {
        let (read_section, read_target, read_entries, read_tail, read_target_logprob) = &read[place];
        assert_eq!((section, target), (read_section, read_target));
        assert!((tail - read_tail).abs() < 1e-5, "{place:?}: tail {tail} {read_tail}");
        assert!((target_logprob - read_target_logprob).abs() < 1e-5, "{place:?}");
        assert_eq!(entries.len(), read_entries.len());
        // Tokens that tie at the edge of the top-k may replace each other, but their values may not differ.
        let last = entries.values().copied().fold(f32::INFINITY, f32::min);
        for (token, logprob) in entries {
            match read_entries.get(token) {
                Some(other) => assert!((logprob - other).abs() < 1e-5, "{place:?} {token}: {logprob} {other}"),
                None => assert!(logprob - last < 1e-5, "{place:?}: token {token} is missing"),
            }
        }
    }
    let whole = exported(&place, &["cache"]);
    assert!(whole.len() > made.len());
    assert!(whole.values().any(|row| row.0 == "answer"));
}

#[test]
fn a_quantised_teacher_runs_as_it_is_and_its_format_is_part_of_the_cache() {
    let place = Workplace::new();
    fs::copy(fixtures().join("tiny-teacher.gguf"), place.path("teacher.gguf")).unwrap();
    place.replace(
        "pipeline.toml",
        "model = \"teacher\"",
        "model = \"teacher.gguf\"\ndtype = \"native\"",
    );
    place.succeed(&PRECOMPUTE);
    let dense = ["precompute", "-c", "pipeline.toml", "--set", "teacher.dtype=f32"];
    let refused = place.run(&dense);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("native") && message.contains("f32"), "{message}");

    place.succeed(&[dense.as_slice(), &["--set", "cache.dir=dense"]].concat());
    let (native, dense) = (exported(&place, &["cache"]), exported(&place, &["dense"]));
    assert_eq!(native.keys().collect::<Vec<_>>(), dense.keys().collect::<Vec<_>>());
    let mean = native
        .iter()
        .map(|(place, row)| f64::from((row.4 - dense[place].4).abs()))
        .sum::<f64>();
    // Quantised products round their inputs to eight bits per block.
    let mean = mean / native.len() as f64;
    assert!(mean > 0.0 && mean < 0.1, "{mean}");
    // The student starts from the directory that the file was made from. Its tokenizer is recognised as the same.
    place.succeed(&TRAIN);
}
