//! Damaged, truncated and foreign models give their named error, never a panic.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Device;
use leadspan_model::{Decoder, ModelError, ModelSource, StoredDtype, StudentStart, write_model_dir};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// A copy of a model directory that may be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

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
        assert!(matches!(error, ModelError::Weights { .. }), "{length}: {error}");
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
    // The same decoder made of what was written computes the same bits, so every weight survived exactly.
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
            .hidden_states(&tokens)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    assert_eq!(of(&again), of(&student));
    // A place that cannot be written to leaves nothing behind.
    let error = write_model_dir(
        &exported.join("config.json/x"),
        student.config(),
        weights(),
        &bundle.files,
    );
    assert!(matches!(error, Err(ModelError::Io { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
