//! Writing a model as a directory in the Hugging Face layout.

use std::{fs, io::Write as _, path::Path};

use candle_core::Tensor;
use leadspan_files::is_tokenizer_file;

use crate::{
    config::DecoderConfig,
    error::ModelError,
    weights::{
        joined::join,
        lora::directory::{AdapterBase, BASE_WEIGHTS, Lora},
        tensor_stream::write_single_precision,
    },
};

/// Writes `config.json`, `model.safetensors` and the given tokenizer files into the new directory `dir`.
///
/// Weights of any dtype are written in single precision. For a student that was trained in a narrower dtype, pass the
/// weights that its optimizer keeps in single precision, so that no digit is lost. A tied head is written once, as the
/// embedding. Weights are converted and written piece by piece, so the export needs no second copy of the model, except of
/// weights that the family stores as one.
///
/// The directory appears complete or not at all: it is filled under a temporary name in the same parent, flushed to disk,
/// and renamed.
///
/// # Errors
///
/// [`ModelError::NotATokenizerFile`] if a tokenizer file has the name of another file: the list may come from a cache that
/// somebody else made, and must not replace the configuration or the weights. [`ModelError::Io`] if `dir` already exists, or
/// its parent cannot be written to.
pub fn write_model_dir<'a>(
    dir: &Path,
    config: &DecoderConfig,
    weights: impl Iterator<Item = (&'a str, &'a Tensor)>,
    tokenizer_files: &[(String, Vec<u8>)],
) -> Result<(), ModelError> {
    write_dir(dir, tokenizer_files, |staging| {
        write_file(&staging.join("config.json"), &pretty(&config.to_json()))?;
        let file = staging.join("model.safetensors");
        if config.family.description().stores_joined_weights {
            let joined = join(weights)?;
            let joined = joined.iter().map(|(name, tensor)| (name.as_str(), tensor));
            return write_weights(&file, &[], joined);
        }
        write_weights(&file, &[], weights)
    })
}

/// Writes `adapter_config.json`, `adapter_model.safetensors` and the given tokenizer files into the new directory `dir`, as
/// PEFT's `save_pretrained` does. `learnt` are the matrices of the adapter by their names. The directory appears as in
/// [`write_model_dir`].
///
/// # Errors
///
/// As [`write_model_dir`].
pub fn write_adapter_dir<'a>(
    dir: &Path,
    lora: &Lora,
    base: &AdapterBase,
    learnt: impl Iterator<Item = (&'a str, &'a Tensor)>,
    tokenizer_files: &[(String, Vec<u8>)],
) -> Result<(), ModelError> {
    write_dir(dir, tokenizer_files, |staging| {
        write_file(&staging.join("adapter_config.json"), &pretty(&lora.config(base)))?;
        let file = staging.join("adapter_model.safetensors");
        write_weights(&file, &[(BASE_WEIGHTS, &base.weights)], learnt)
    })
}

/// Creates the directory `dir` with the given tokenizer files and what `fill` writes into the directory that it is given.
fn write_dir(
    dir: &Path,
    tokenizer_files: &[(String, Vec<u8>)],
    fill: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    if let Some((name, _)) = tokenizer_files.iter().find(|(name, _)| !is_tokenizer_file(name)) {
        return Err(ModelError::NotATokenizerFile { name: name.clone() });
    }
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io("create", parent))?;
    let staging = tempfile::Builder::new()
        .prefix(".model-")
        .tempdir_in(parent)
        .map_err(io("create a directory in", parent))?;
    for (name, bytes) in tokenizer_files {
        write_file(&staging.path().join(name), bytes)?;
    }
    fill(staging.path())?;
    sync_dir(staging.path()).map_err(io("flush", staging.path()))?;
    make_readable(staging.path()).map_err(io("set permissions of", staging.path()))?;
    fs::rename(staging.path(), dir).map_err(io("rename a finished model to", dir))?;
    // The directory has its final name, so the temporary must not be removed.
    drop(staging.keep());
    sync_dir(parent).map_err(io("flush", parent))
}

/// The error of an attempt at a file.
fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::Io { action, path, source }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let mut file = fs::File::create_new(path).map_err(io("create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io("write", path))
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("names and numbers serialize");
    bytes.push(b'\n');
    bytes
}

fn write_weights<'a>(
    path: &Path,
    metadata: &[(&str, &str)],
    weights: impl Iterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), ModelError> {
    let metadata = [&[("format", "pt")][..], metadata].concat();
    let written = fs::File::create_new(path).and_then(|file| {
        let file = write_single_precision(file, &metadata, &weights.collect())?;
        file.sync_all()
    });
    written.map_err(|error| match error.downcast() {
        Ok(failure) => ModelError::Tensor(failure),
        Err(source) => ModelError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        },
    })
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// Temporary directories are private to their owner. A finished model is readable by all who may read its parent.
#[cfg(unix)]
fn make_readable(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}
