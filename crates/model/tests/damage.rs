//! Damaged, truncated and foreign models give their named error, never a panic.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod models;

use std::{fs, path::Path};

use candle_core::Device;
use leadspan_diagnosis::Diagnosis as _;
use leadspan_model::{Decoder, ModelError, ModelSource, Stop, StoredDtype, StudentStart, write_model_dir};
use models::{copy, fixture};

fn load(path: &Path) -> Result<(), ModelError> {
    let source = ModelSource::open(path)?;
    source.tokenizer()?;
    Decoder::load(&source, StoredDtype::F32, &Device::Cpu).map(drop)
}

#[test]
fn truncated_weights_are_named_at_any_length() {
    let whole = fs::read(fixture("tiny-teacher/model.safetensors")).unwrap();
    let dir = copy("tiny-teacher");
    for length in [0, 4, 8, 200, whole.len() / 2, whole.len() - 1] {
        fs::write(dir.path().join("model.safetensors"), &whole[..length]).unwrap();
        let error = load(dir.path()).unwrap_err();
        assert!(
            matches!(&error, ModelError::Weights { path, .. } if path.ends_with("model.safetensors")),
            "{error}"
        );
        assert!(!error.is_unexpected());
    }
}

#[test]
fn a_truncated_gguf_is_named_at_any_length() {
    let whole = fs::read(fixture("tiny-teacher.gguf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    for length in [0, 3, 8, 24, 100, 2000, whole.len() / 2, whole.len() - 40] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = load(&path).unwrap_err();
        // The first four bytes say what kind of file it is.
        let is_named = match &error {
            ModelError::NotGguf { path: found } => length < 4 && *found == path,
            error => length >= 4 && matches!(error, ModelError::Weights { .. }),
        };
        assert!(is_named && !error.is_unexpected(), "{length}: {error}");
    }
}

#[test]
fn damaged_gguf_headers_never_panic() {
    let whole = fs::read(fixture("tiny-teacher.gguf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let mut refused = 0;
    for place in (0..1500).step_by(7) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0xff;
        fs::write(&path, &damaged).unwrap();
        refused += usize::from(load(&path).is_err());
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_named() {
    let dir = copy("tiny-teacher");
    let path = dir.path().join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        config.replace("\"intermediate_size\": 64", "\"intermediate_size\": 48"),
    )
    .unwrap();
    let error = load(dir.path()).unwrap_err();
    assert!(
        matches!(&error, ModelError::WeightShape { name, .. } if name.contains("mlp")),
        "{error}"
    );
    fs::write(
        &path,
        config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
    )
    .unwrap();
    let error = load(dir.path()).unwrap_err();
    assert!(
        matches!(&error, ModelError::MissingWeight { name, .. } if name.contains("layers.2")),
        "{error}"
    );
    fs::write(&path, "{").unwrap();
    assert!(matches!(load(dir.path()).unwrap_err(), ModelError::InvalidJson { .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        load(dir.path()).unwrap_err(),
        ModelError::MissingFile {
            file: "config.json",
            ..
        }
    ));
    assert!(matches!(
        load(&dir.path().join("nowhere")).unwrap_err(),
        ModelError::NotFound { .. }
    ));
}

#[test]
fn an_index_that_points_outside_its_directory_is_refused() {
    let dir = copy("parity/llama_untied_sharded");
    let index = dir.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    for outside in [
        "../model-00001-of-00002.safetensors",
        "/etc/passwd",
        "sub/x.safetensors",
        "..",
        "a\\\\b",
    ] {
        fs::write(&index, text.replace("model-00001-of-00002.safetensors", outside)).unwrap();
        let source = ModelSource::open(dir.path()).unwrap();
        let error = Decoder::load(&source, StoredDtype::F32, &Device::Cpu).unwrap_err();
        assert!(matches!(error, ModelError::IndexOutside { .. }), "{outside}: {error}");
    }
}

#[test]
fn an_index_that_names_a_file_without_weights_is_refused_with_the_entry() {
    let dir = copy("parity/llama_untied_sharded");
    let index = dir.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    for other in ["config.json", "model.safetensors.index.json", "pytorch_model.bin"] {
        let entry = "\"lm_head.weight\": \"";
        let start = text.find(entry).unwrap() + entry.len();
        let end = start + text[start..].find('"').unwrap();
        fs::write(&index, [&text[..start], other, &text[end..]].concat()).unwrap();
        let source = ModelSource::open(dir.path()).unwrap();
        let error = source.weight_files().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "`{}` says that the weight `lm_head.weight` is in `{other}`, which is no safetensors file",
                index.display()
            )
        );
        let hint = error.hint().unwrap();
        assert!(!error.is_unexpected() && hint.contains("`.safetensors`"), "{hint}");
        assert!(!hint.contains("truncated"), "{hint}");
        assert!(Decoder::load(&source, StoredDtype::F32, &Device::Cpu).is_err());
    }
}

#[test]
fn chosen_layers_must_exist_and_ascend() {
    for (layers, wrong) in [(vec![0, 2], 2), (vec![1, 0], 0), (vec![1, 1], 1), (vec![], 0)] {
        let source = ModelSource::open(&fixture("tiny-teacher")).unwrap();
        let start = StudentStart::Model {
            source,
            layers: Some(layers),
        };
        let error = Decoder::trainable(&start, &Device::Cpu).unwrap_err();
        assert!(
            matches!(error, ModelError::Layers { layer, available: 2, .. } if layer == wrong),
            "{error}"
        );
    }
}

#[test]
fn an_exported_student_is_a_model_again() {
    let source = ModelSource::open(&fixture("tiny-teacher.gguf")).unwrap();
    let bundle = source.tokenizer().unwrap();
    let start = StudentStart::Model {
        source,
        layers: Some(vec![1]),
    };
    let (student, parameters) = Decoder::trainable(&start, &Device::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let exported = dir.path().join("student");
    let weights = || parameters.iter().map(|(name, variable)| (name, variable.as_tensor()));
    write_model_dir(&exported, student.config(), weights(), &bundle.files).unwrap();
    let back = ModelSource::open(&exported).unwrap();
    assert_eq!(back.config(), student.config());
    assert_eq!(back.tokenizer().unwrap().fingerprint, bundle.fingerprint);
    // A decoder made of the exported files computes the same bits, so every weight is unchanged.
    let (again, _) = Decoder::trainable(
        &StudentStart::Model {
            source: back,
            layers: None,
        },
        &Device::Cpu,
    )
    .unwrap();
    let tokens = leadspan_model::Packed::new([&[1, 5, 9, 200, 7][..]]);
    let of = |model: &Decoder| {
        model
            .hidden_states(&tokens, Stop::NEVER)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    assert_eq!(of(&again), of(&student));
    // A cache from somebody else says which tokenizer files there are.
    for name in [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "../evil",
        "evil\n.py",
    ] {
        let files = [(name.to_owned(), b"{}".to_vec())];
        let error = write_model_dir(&dir.path().join("other"), student.config(), weights(), &files).unwrap_err();
        assert!(matches!(&error, ModelError::NotATokenizerFile { .. }), "{error}");
        assert!(!error.to_string().contains('\n') && !error.is_unexpected());
    }
    // An export to a path that cannot be written leaves nothing behind.
    let error = write_model_dir(
        &exported.join("config.json/x"),
        student.config(),
        weights(),
        &bundle.files,
    );
    assert!(matches!(error, Err(ModelError::Io { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// A copy of the tiny teacher whose weight file has these bytes.
fn with_weights(bytes: &[u8]) -> tempfile::TempDir {
    let dir = copy("tiny-teacher");
    fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    dir
}

#[test]
fn a_safetensors_header_that_claims_more_than_the_file_holds_is_refused() {
    let header = |json: &str, data: usize| {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let tensor = |shape: &str, start: u64, end: u64| {
        format!(r#"{{"model.embed_tokens.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    };
    let mut enormous_header = u64::MAX.to_le_bytes().to_vec();
    enormous_header.extend_from_slice(b"{}");
    let mut long_header = (99u64 << 20).to_le_bytes().to_vec();
    long_header.extend_from_slice(b"{}");
    for (what, bytes) in [
        ("a header of 2^64 bytes", enormous_header),
        ("a header longer than the file", long_header),
        ("data beyond the end", header(&tensor("[320,32]", 0, 40960), 1000)),
        ("a petabyte", header(&tensor("[320,32]", 0, 1 << 50), 1000)),
        ("offsets that overflow", header(&tensor("[320,32]", 0, u64::MAX), 1000)),
        (
            "a shape that overflows",
            header(&tensor("[4294967296,4294967296,4294967296]", 0, 1000), 1000),
        ),
        (
            "a shape larger than its data",
            header(&tensor("[320,32]", 0, 1000), 1000),
        ),
    ] {
        let dir = with_weights(&bytes);
        let error = load(dir.path()).unwrap_err();
        let named = matches!(&error, ModelError::Weights { path, .. } if path.ends_with("model.safetensors"));
        assert!(named && !error.is_unexpected(), "{what}: {error}");
    }
}

/// A GGUF file with this metadata and these tensors (name, dimensions from the inner one, kind, offset) and no data.
fn gguf(
    counts: Option<(u64, u64)>,
    metadata: &[(&str, u32, Vec<u8>)],
    tensors: &[(&str, &[u64], u32, u64)],
) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let (tensor_count, metadata_count) = counts.unwrap_or((tensors.len() as u64, metadata.len() as u64));
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensor_count.to_le_bytes());
    bytes.extend(metadata_count.to_le_bytes());
    for (key, kind, value) in metadata {
        bytes.extend(text(key));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }
    for (name, dimensions, kind, offset) in tensors {
        bytes.extend(text(name));
        bytes.extend((dimensions.len() as u32).to_le_bytes());
        bytes.extend(dimensions.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len() + 4096, 0);
    bytes
}

#[test]
fn a_gguf_header_that_claims_more_than_the_file_holds_is_refused() {
    const U32: u32 = 4;
    const TEXT: u32 = 8;
    const ARRAY: u32 = 9;
    let long_text = (1u64 << 29).to_le_bytes().to_vec();
    let mut long_array = U32.to_le_bytes().to_vec();
    long_array.extend((1u64 << 29).to_le_bytes());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    for (what, bytes) in [
        (
            "as many tensors as there are numbers",
            gguf(Some((u64::MAX, 0)), &[], &[]),
        ),
        ("a milliard tensors", gguf(Some((1 << 30, 0)), &[], &[])),
        ("a milliard keys", gguf(Some((0, 1 << 30)), &[], &[])),
        (
            "a long text",
            gguf(None, &[("general.architecture", TEXT, long_text)], &[]),
        ),
        (
            "a long list",
            gguf(None, &[("tokenizer.ggml.tokens", ARRAY, long_array)], &[]),
        ),
        (
            "no alignment",
            gguf(None, &[("general.alignment", U32, vec![0; 4])], &[]),
        ),
        (
            "a tensor beyond the end",
            gguf(None, &[], &[("token_embd.weight", &[32, 320], 0, 0)]),
        ),
        (
            "an offset beyond the end",
            gguf(None, &[], &[("token_embd.weight", &[32, 1], 0, u64::MAX - 40)]),
        ),
        (
            "a tensor whose size overflows to nothing",
            gguf(None, &[], &[("token_embd.weight", &[1 << 32, 1 << 32], 0, 0)]),
        ),
        (
            "a tensor whose size overflows to a little",
            gguf(None, &[], &[("token_embd.weight", &[(1 << 63) + 8, 2], 0, 0)]),
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err();
        let named = matches!(&error, ModelError::Weights { path, .. } if path.ends_with("model.gguf"));
        assert!(named && !error.is_unexpected(), "{what}: {error}");
    }
}

#[test]
fn a_mixture_of_experts_is_refused_as_a_student() {
    let source = ModelSource::open(&fixture("parity/qwen3_moe")).unwrap();
    let config = source.config().clone();
    let starts = [
        StudentStart::Model { source, layers: None },
        StudentStart::Config { config, seed: 1 },
    ];
    for start in starts {
        let error = Decoder::trainable(&start, &Device::Cpu).unwrap_err();
        assert!(matches!(error, ModelError::CannotBeTrained { .. }), "{error}");
        assert!(!error.is_unexpected() && error.hint().unwrap().contains("dense"));
    }
}
