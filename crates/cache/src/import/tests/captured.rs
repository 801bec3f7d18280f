//! Rows of DistillKit, packed and plain.

use std::{collections::BTreeMap, fs, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, Float32Array, ListArray, RecordBatch, UInt32Array},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Float32Type, UInt32Type},
};
use leadspan_diagnosis::Diagnosis as _;
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::*;

/// The entries that DistillKit's own decompressor gives, by sample and position.
fn decoded(path: &Path) -> BTreeMap<(u64, u64), BTreeMap<u32, f32>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let mut positions = BTreeMap::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str, data_type: DataType| {
            arrow::compute::cast(batch.column_by_name(name).unwrap(), &data_type).unwrap()
        };
        let list = |data_type| DataType::List(Arc::new(Field::new("item", data_type, true)));
        let (rows, places) = (column("row", DataType::UInt32), column("position", DataType::UInt32));
        let ids = column("token_ids", list(DataType::UInt32));
        let logprobs = column("logprobs", list(DataType::Float32));
        for at in 0..batch.num_rows() {
            let number = |array: &ArrayRef| u64::from(array.as_primitive::<UInt32Type>().value(at));
            let (ids, logprobs) = (ids.as_list::<i32>().value(at), logprobs.as_list::<i32>().value(at));
            let ids = ids.as_primitive::<UInt32Type>().values().iter().copied();
            let logprobs = logprobs.as_primitive::<Float32Type>().values().iter().copied();
            positions.insert((number(&rows), number(&places)), ids.zip(logprobs).collect());
        }
    }
    positions
}

#[test]
fn what_distillkit_wrote_is_read_as_its_own_decompressor_reads_it() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/distillkit");
    // Coefficients are of single precision, and their terms go up to 15⁴. DistillKit rounds sums of steps to 16 bits.
    for (name, tolerance) in [("recommended", 2e-4), ("binned", 8e-3)] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("cache");
        let files = [examples.join(name).join("data_0.parquet")];
        let result = imported(&dir, &files).unwrap().unwrap();
        let expected = decoded(&examples.join(name).join("decoded.parquet"));
        assert_eq!((result.samples, result.positions), (5, expected.len() as u64), "{name}");
        let cache = Cache::open(&dir).unwrap();
        let mut worst = 0f32;
        for (row, span) in spans(&cache, Coverage::whole_answers()).iter().enumerate() {
            assert_eq!(span.positions.len(), span.tokens.len() - 1);
            for (&position, found) in span.positions.iter().zip(span.distributions.iter()) {
                let expected = &expected[&(row as u64, u64::from(position))];
                assert_eq!(found.token_ids.len(), expected.len(), "{name}");
                // What rounding made exceed one is scaled to one.
                let sum: f64 = expected
                    .values()
                    .map(|&logprob| f64::from(logprob.min(0.0)).exp())
                    .sum();
                let excess = sum.ln().max(0.0) as f32;
                assert!(excess < 0.02, "{name}: {sum}");
                for (id, logprob) in found.token_ids.iter().zip(found.logprobs) {
                    worst = worst.max((logprob - expected[id].min(0.0) + excess).abs());
                }
                let mass: f32 = found.logprobs.iter().map(|logprob| logprob.exp()).sum();
                assert!((mass + found.tail_logprob.exp() - 1.0).abs() < 1e-4, "{name}");
            }
        }
        assert!(worst <= tolerance, "{name}: {worst}");
        let teacher = cache.identity().teacher.as_ref().unwrap().imported.as_ref().unwrap();
        assert_eq!(teacher.layout, "distillkit");
        // The same import finds everything there.
        let again = imported(&dir, &files).unwrap().unwrap();
        assert_eq!((again.written, again.positions), (0, result.positions));
    }
}

/// A row of plain entries: tokens, and for each position ids and log-probabilities.
pub(super) type Plain<'a> = (&'a [u32], &'a [(&'a [u32], &'a [f32])]);

pub(super) fn list(values: ArrayRef, lengths: Vec<usize>) -> ArrayRef {
    let field = Field::new("item", values.data_type().clone(), true);
    Arc::new(ListArray::new(
        Arc::new(field),
        OffsetBuffer::from_lengths(lengths),
        values,
        None,
    ))
}

pub(super) fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub(super) fn plain_columns(rows: &[Plain<'_>]) -> Vec<(&'static str, ArrayRef)> {
    let tokens: Vec<u32> = rows.iter().flat_map(|(tokens, _)| tokens.iter().copied()).collect();
    let positions: Vec<&(&[u32], &[f32])> = rows.iter().flat_map(|(_, positions)| positions.iter()).collect();
    let ids: Vec<u32> = positions.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
    let values: Vec<f32> = positions
        .iter()
        .flat_map(|(_, values)| values.iter().copied())
        .collect();
    let counts = || rows.iter().map(|(_, positions)| positions.len()).collect::<Vec<_>>();
    let inner = list(
        Arc::new(UInt32Array::from(ids)),
        positions.iter().map(|(ids, _)| ids.len()).collect(),
    );
    let outer = list(
        Arc::new(Float32Array::from(values)),
        positions.iter().map(|(_, values)| values.len()).collect(),
    );
    let lengths = rows.iter().map(|(tokens, _)| tokens.len()).collect();
    vec![
        ("input_ids", list(Arc::new(UInt32Array::from(tokens)), lengths)),
        ("token_ids", list(inner, counts())),
        ("top_values", list(outer, counts())),
    ]
}

#[test]
fn plain_rows_are_imported_and_those_that_cannot_be_right_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let half = 0.5f32.ln();
    let good: Plain<'_> = (&[5, 6], &[(&[6, 7], &[half, -2.0])]);
    write(&at("train_10.parquet"), plain_columns(&[good]));
    write(&at("train_9.parquet"), plain_columns(&[good, (&[3], &[])]));
    write(&at("validation.parquet"), plain_columns(&[good]));
    let result = imported(&at("cache"), &[folder.path().to_owned()]).unwrap().unwrap();
    assert_eq!((result.samples, result.positions, result.bounded_targets), (4, 3, 0));
    let corpus = Cache::open(&at("cache")).unwrap().require_corpus().unwrap();
    let ids: Vec<&str> = corpus.samples().map(|sample| sample.id).collect();
    assert_eq!(ids, ["train_9:1", "train_9:2", "train_10:1", "validation:1"]);
    assert_eq!(corpus.sample(3).split.as_str(), "validation");
    let file = at("bad.parquet");
    let refused = |columns: Vec<(&str, ArrayRef)>, said: &str| {
        write(&file, columns);
        let dir = at("bad");
        let error = imported(&dir, std::slice::from_ref(&file)).unwrap_err();
        let text = format!(
            "{error}: {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        );
        assert!(text.contains(said) && text.contains("bad.parquet"), "{said}: {text}");
        assert!(!error.is_unexpected() && error.hint().is_some(), "{text}");
        assert!(!dir.exists(), "nothing is left: {text}");
    };
    let second: [(Plain<'_>, &str); 12] = [
        ((&[5, 6, 7], &[(&[6], &[half])]), "row 2 of"),
        ((&[5, 6, 7], &[(&[6], &[half])]), "1 positions, but 3 tokens have 2"),
        (
            (&[5, 6], &[(&[6, 7], &[half])]),
            "position 0: 2 ids, but 1 log-probabilities",
        ),
        ((&[5, 6], &[(&[6], &[f32::NAN])]), "position 0: `NaN` of token 6"),
        ((&[5, 6], &[(&[6], &[0.5])]), "`0.5` of token 6 is no log-probability"),
        (
            (&[5, 6], &[(&[6, 7], &[-0.1, -0.2])]),
            "sum to 1.7236, which is more than one",
        ),
        // In single precision, rounding explains neither.
        ((&[5, 6], &[(&[6], &[0.01])]), "`0.01` of token 6 is no log-probability"),
        (
            (&[5, 6], &[(&[6, 7], &[0.75f32.ln(), 0.26f32.ln()])]),
            "sum to 1.0100, which is more than one",
        ),
        (
            (&[5, 6], &[(&[50_000], &[half])]),
            "token 50000 is not in a vocabulary of 50000",
        ),
        (
            (&[5, 60_000], &[(&[6], &[half])]),
            "its token 60000 is not in a vocabulary",
        ),
        ((&[], &[]), "it has no tokens"),
        (
            (&[5, 6], &[(&[6, 7, 8], &[half, -3.0, -3.0])]),
            "it has 3 entries, but the first position has 2",
        ),
    ];
    for (row, said) in second {
        refused(plain_columns(&[good, row]), said);
    }
    let mut columns = plain_columns(&[good]);
    columns.remove(0);
    refused(columns, "`input_ids` is missing");
    refused(plain_columns(&[good])[..1].to_vec(), "those of no known layout");
    let mut columns = plain_columns(&[good]);
    columns[0].1 = list(Arc::new(Float32Array::from(vec![5.5, 6.0])), vec![2]);
    refused(columns, "`input_ids`");
    let mut columns = plain_columns(&[good]);
    columns[0].1 = list(Arc::new(UInt32Array::from(vec![Some(5), None])), vec![2]);
    refused(columns, "`input_ids` has no value");
    let mut columns = plain_columns(&[good]);
    for (column, name) in columns
        .iter_mut()
        .zip(["input_ids", "compressed_logprobs", "bytepacked_indices"])
    {
        column.0 = name;
    }
    refused(columns, "no `compression_config.yaml` beside it");
    let mut columns = plain_columns(&[good]);
    columns[1].0 = "packed_indices";
    refused(columns, "older layout");
    write(&file, plain_columns(&[good]));
    let sound = fs::read(&file).unwrap();
    for end in [0, 8, sound.len() / 2, sound.len() - 1] {
        fs::write(&file, &sound[..end]).unwrap();
        let error = imported(&at("bad"), std::slice::from_ref(&file)).unwrap_err();
        assert!(
            matches!(error, ImportError::Table { .. }) && !error.is_unexpected(),
            "{error}"
        );
    }
    let error = imported(&at("bad"), &[at("nothing.parquet")]).unwrap_err();
    assert!(
        !error.is_unexpected() && error.to_string().contains("nothing.parquet"),
        "{error}"
    );
    fs::create_dir(at("empty")).unwrap();
    let error = imported(&at("bad"), &[at("empty")]).unwrap_err();
    assert!(matches!(error, ImportError::Nothing { .. }), "{error}");
}

#[test]
fn folders_and_files_without_a_position_and_settings_that_nothing_needs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = at("rows.parquet");
    // The folder inside that has files is named.
    fs::create_dir_all(at("outer/a/b")).unwrap();
    write(&at("outer/a/b/x.parquet"), plain_columns(&[(&[5], &[])]));
    let error = imported(&at("cache"), &[at("outer")]).unwrap_err();
    assert!(error.hint().unwrap().contains("outer/a/b`"), "{:?}", error.hint());
    write(&file, plain_columns(&[(&[5], &[]), (&[6], &[])]));
    let error = imported(&at("cache"), std::slice::from_ref(&file)).unwrap_err();
    assert!(error.to_string().contains("no row with two tokens"), "{error}");
    write(&file, plain_columns(&[(&[5, 6], &[(&[6], &[-1.0])])]));
    let (files, named) = ([file], at("compression_config.yaml"));
    let with_settings = ImportSettings {
        compression_config: Some(&named),
        ..settings(&files, &[])
    };
    let stop = AtomicBool::new(false);
    let error = import(&at("cache"), &with_settings, &stop, &mut |_| {}, &mut |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("compression_config.yaml` is not needed") && error.hint().is_some(),
        "{error}"
    );
    assert!(!at("cache").exists());
}

#[test]
fn sums_above_one_are_taken_for_rounding_only_in_numbers_of_16_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bf16 = |value: f32| f32::from_bits(value.ln().to_bits() & 0xffff_0000);
    let f16 = |value: f32| (value.ln() * 1024.0).round() / 1024.0;
    for (name, logprobs, above_one) in [
        ("bf16", [bf16(0.75), bf16(0.26)], 1),
        ("f16", [f16(0.75), f16(0.26)], 1),
        ("f32", [0.75f32.ln(), 0.2505f32.ln()], 1),
        ("exact", [0.75f32.ln(), 0.25f32.ln()], 0),
    ] {
        let file = at(&format!("{name}.parquet"));
        write(&file, plain_columns(&[(&[5, 6], &[(&[6, 7], &logprobs)])]));
        let result = imported(&at(name), &[file]).unwrap().unwrap();
        assert_eq!((result.positions, result.above_one), (1, above_one), "{name}");
    }
}

#[test]
fn packed_rows_of_other_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/distillkit/recommended");
    let files = [folder.path().join("data_0.parquet")];
    fs::copy(example.join("data_0.parquet"), &files[0]).unwrap();
    let settings = fs::read_to_string(example.join("compression_config.yaml")).unwrap();
    let dir = folder.path().join("cache");
    for (from, to, said) in [
        (
            "exact_k: 16",
            "exact_k: 15",
            "`compressed_logprobs` has 56 bytes, but 54 by its settings",
        ),
        (
            "d: 49152",
            "d: 200000",
            "`bytepacked_indices` has 64 bytes, but 72 by its settings",
        ),
        ("exact_dtype: bfloat16", "exact_dtype: float16", "row 1 of"),
        ("d: 49152", "d: 100", "64 bytes, but 28 by its settings"),
    ] {
        fs::write(
            folder.path().join("compression_config.yaml"),
            settings.replace(from, to),
        )
        .unwrap();
        let error = imported(&dir, &files).unwrap_err();
        let text = format!(
            "{error}: {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        );
        assert!(text.contains(said) && !error.is_unexpected(), "{to}: {text}");
        assert!(!dir.exists(), "{text}");
    }
}

#[test]
fn a_file_with_other_bytes_is_read_or_refused_and_never_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.parquet");
    let half = 0.5f32.ln();
    write(&file, plain_columns(&[(&[5, 6], &[(&[6, 7], &[half, -2.0])])]));
    let sound = fs::read(&file).unwrap();
    let vocabulary = settings(&[], &[]).vocabulary;
    let mut refused = 0;
    for number in 0..300usize {
        let mut bytes = sound.clone();
        let place = number.wrapping_mul(2_654_435_761) % bytes.len();
        bytes[place] = bytes[place].wrapping_add(1 + (number * 37 % 255) as u8);
        fs::write(&file, bytes).unwrap();
        let read =
            Captured::open(vec![file.clone()], None, vocabulary).and_then(|source| source.samples(&mut |_| Ok(())));
        refused += usize::from(read.is_err_and(|error| !error.is_unexpected()));
    }
    assert!(refused > 50, "{refused}");
}
