//! Links, pipes, folders, pointers and endless files in the place of a model's files.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod models;

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use candle_core::Device;
use leadspan_diagnosis::Diagnosis as _;
use leadspan_model::{Decoder, HubCache, ModelError, ModelSource, StoredDtype};
use models::{copy, fixture};

fn load(path: &Path) -> Result<(), ModelError> {
    let source = ModelSource::open(path)?;
    source.weights_fingerprint()?;
    Decoder::load(&source, StoredDtype::F32, &Device::Cpu).map(drop)
}

/// The message with its causes, and the hint, with which a model is refused.
fn refusal(path: &Path) -> String {
    let error = load(path).unwrap_err();
    assert!(!error.is_unexpected(), "{error}");
    let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
    format!("{error}: {cause}\n{}", error.hint().unwrap_or_default())
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_file_in_the_place_of_one_is_refused_at_once() {
    for (folder, name) in [
        ("parity/qwen3", "config.json"),
        ("parity/qwen3", "model.safetensors"),
        ("parity/llama_untied_sharded", "model.safetensors.index.json"),
        ("parity/llama_untied_sharded", "model-00002-of-00002.safetensors"),
    ] {
        let dir = copy(folder);
        let path = dir.path().join(name);
        let refused = |found: &str| {
            let message = refusal(dir.path());
            assert!(
                message.contains(&format!("`{}`", path.display())) && message.contains(found),
                "{name}: {message}"
            );
        };
        fs::remove_file(&path).unwrap();
        pipe(&path);
        refused("a named pipe");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a folder");
        fs::remove_dir(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        refused("a device");
        fs::remove_file(&path).unwrap();
        fs::write(
            &path,
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        )
        .unwrap();
        refused("a Git LFS pointer");
        refused("`git lfs pull`");
    }
    // The model itself.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    pipe(&path);
    assert!(refusal(&path).contains("a named pipe"));
    fs::remove_file(&path).unwrap();
    fs::write(
        &path,
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    )
    .unwrap();
    assert!(refusal(&path).contains("`git lfs pull`"));
}

#[test]
fn a_configuration_without_end_is_not_read_to_the_end() {
    let dir = copy("parity/qwen3");
    let path = dir.path().join("config.json");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let message = refusal(dir.path());
    assert!(
        message.contains("config.json") && message.contains("bytes that such a file may have"),
        "{message}"
    );
}

#[test]
fn links_in_the_cache_of_the_hub_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("models--owner--name");
    let snapshot = repository.join("snapshots/0123");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("blobs")).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "0123").unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture("parity/qwen3").join(name), repository.join("blobs").join(name)).unwrap();
        symlink(Path::new("../../blobs").join(name), snapshot.join(name)).unwrap();
    }
    let hub = HubCache::new(folder.path().to_owned());
    let found = hub.resolve(Path::new("owner/name"), folder.path(), None).unwrap();
    load(&found).unwrap();
    // A reference that would never end names nothing.
    fs::remove_file(repository.join("refs/main")).unwrap();
    pipe(&repository.join("refs/main"));
    let error = hub.resolve(Path::new("owner/name"), folder.path(), None).unwrap_err();
    assert!(matches!(error, ModelError::NotInHubCache { .. }), "{error}");
}
