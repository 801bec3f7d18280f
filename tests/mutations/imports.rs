//! What is imported: a capture of DistillKit with its settings, and the folder of an export.
//!
//! A file that is refused is the user's, never a fault of the program, and nothing is left of the cache that it was to become.

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use arrow::{
    array::{ArrayRef, Float32Array, ListArray, RecordBatch, UInt32Array},
    buffer::OffsetBuffer,
    datatypes::Field,
};
use leadspan_cache::{Cache, FileLimits, FolderSettings, ImportSettings, Missing, Vocabulary, export_dataset, import};
use leadspan_diagnosis::Diagnosis as _;
use leadspan_distribution::codec::Precision;
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use crate::{
    harness::{Case, Reader},
    mutation::{Random, mutated, mutated_json},
};

pub(crate) fn readers() -> Vec<Reader> {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/cache/tests/distillkit/recommended");
    let packed = |folder: &Path| {
        for name in ["data_0.parquet", "compression_config.yaml"] {
            fs::copy(capture.join(name), folder.join(name)).unwrap();
        }
    };
    vec![
        reader("import-capture", packed, &["data_0.parquet"]),
        reader("import-settings", packed, &["compression_config.yaml"]),
        reader(
            "import-plain",
            |folder| plain(&folder.join("plain.parquet")),
            &["plain.parquet"],
        ),
        reader(
            "import-export",
            exported,
            &[
                "export.json",
                "data/train-00000-of-00001.parquet",
                "samples/train-00000-of-00001.parquet",
            ],
        ),
    ]
}

/// A reader of a folder that `make` fills; `names` are the files that are changed, one at a time.
fn reader(name: &'static str, make: impl Fn(&Path), names: &[&str]) -> Reader {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    make(&source);
    let files: Vec<(PathBuf, Vec<u8>)> = names
        .iter()
        .map(|name| {
            let path = source.join(name);
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    let list = files[0].clone();
    let has_list = names[0] == "export.json";
    let mutate = move |random: &mut Random| {
        for (path, sound) in &files {
            fs::write(path, sound).unwrap();
        }
        let (path, sound) = random.pick(&files);
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let bytes = if is_json {
            mutated_json(sound, random)
        } else {
            mutated(sound, random)
        };
        fs::write(path, &bytes).unwrap();
        if has_list && !is_json {
            fs::write(&list.0, relisted(&list.1, path, &bytes)).unwrap();
        }
        let (source, out) = (source.clone(), folder.path().join("cache"));
        Case {
            bytes: bytes.len(),
            read: Box::new(move || import_whole(&source, &out)),
        }
    };
    Reader {
        name,
        share: 5,
        mutate: Box::new(mutate),
    }
}

/// The list of an export with the hash of the file at `path`, which has these bytes.
fn relisted(list: &[u8], path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut list: Value = serde_json::from_slice(list).unwrap();
    let files = list["files"].as_array_mut().unwrap();
    let file = files
        .iter_mut()
        .find(|file| path.ends_with(file["path"].as_str().unwrap()));
    file.unwrap()["blake3"] = blake3::hash(bytes).to_hex().as_str().into();
    serde_json::to_vec(&list).unwrap()
}

fn import_whole(source: &Path, out: &Path) -> Result<(), String> {
    let files = [source.to_owned()];
    let settings = ImportSettings {
        files: &files,
        compression_config: None,
        tokenizer_files: &[],
        tokenizer: "tokenizer",
        chat_template: "",
        vocabulary: Vocabulary {
            of_tokenizer: 49_152,
            of_model: 49_152,
            given: None,
        },
        precision: Precision::Standard,
        samples_per_shard: NonZeroU32::new(256).unwrap(),
    };
    let imported = import(out, &settings, &AtomicBool::new(false), &mut |_| {}, &mut |_| {});
    let left = out.exists();
    let _ = fs::remove_dir_all(out);
    imported.map(drop).map_err(|error| {
        assert!(!error.is_unexpected() && !left, "{error}: left {left}");
        format!("{error} {:?}", error.hint())
    })
}

/// Three samples of three tokens, with two entries at each of their two positions.
fn plain(path: &Path) {
    let list = |values: ArrayRef, lengths: [usize; 3]| -> ArrayRef {
        let field = Arc::new(Field::new("element", values.data_type().clone(), true));
        Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, None))
    };
    let two = |values: ArrayRef| -> ArrayRef {
        let field = Arc::new(Field::new("element", values.data_type().clone(), true));
        list(
            Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([2; 6]), values, None)),
            [2; 3],
        )
    };
    let tokens: UInt32Array = (0..9u32).map(Some).collect();
    let ids: UInt32Array = (0..12u32).map(|at| Some(at * 17)).collect();
    let logprobs: Float32Array = (0..12u8).map(|at| Some(-1.0 - f32::from(at) / 8.0)).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("input_ids", list(Arc::new(tokens), [3; 3])),
        ("token_ids", two(Arc::new(ids))),
        ("top_values", two(Arc::new(logprobs))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

/// An export of the plain rows.
fn exported(folder: &Path) {
    let made = tempfile::tempdir().unwrap();
    let (rows, dir) = (made.path().join("rows"), made.path().join("cache"));
    fs::create_dir(&rows).unwrap();
    plain(&rows.join("plain.parquet"));
    let files = [rows];
    let settings = ImportSettings {
        files: &files,
        compression_config: None,
        tokenizer_files: &[],
        tokenizer: "tokenizer",
        chat_template: "",
        vocabulary: Vocabulary {
            of_tokenizer: 300,
            of_model: 300,
            given: None,
        },
        precision: Precision::Exact,
        samples_per_shard: NonZeroU32::new(256).unwrap(),
    };
    import(&dir, &settings, &AtomicBool::new(false), &mut |_| {}, &mut |_| {}).unwrap();
    let settings = FolderSettings {
        proportion: None,
        missing: Missing::Refused,
        limits: FileLimits {
            rows: 1000,
            bytes: 1 << 20,
        },
        fidelity: None,
        license: None,
        overwrite: true,
    };
    fs::remove_dir(folder).unwrap();
    export_dataset(&Cache::open(&dir).unwrap(), folder, &settings, &mut |_| {}).unwrap();
}
