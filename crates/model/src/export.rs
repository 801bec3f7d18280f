//! Writing a model as a directory in the Hugging Face layout.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, tensor::TensorView};

use crate::{DecoderConfig, ModelError};

/// Writes `config.json`, `model.safetensors` and the given tokenizer files as directory `dir`.
///
/// Weights are written in single precision, whatever they come in: of a student that learnt in another dtype, give those
/// that its optimizer keeps in single precision, and nothing of what was learnt is rounded away.
///
/// The directory appears whole or not at all: it is filled under a temporary name beside its place, flushed to disk,
/// and renamed. A tied head is written once, as the embedding.
///
/// # Errors
///
/// Where `dir` exists already, or its parent cannot be written to.
pub fn write_model_dir<'a>(
    dir: &Path,
    config: &DecoderConfig,
    weights: impl Iterator<Item = (&'a str, &'a Tensor)>,
    tokenizer_files: &[(String, Vec<u8>)],
) -> Result<(), ModelError> {
    let io = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| ModelError::Io { action, path, source }
    };
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io("create", parent))?;
    let staging = tempfile::Builder::new()
        .prefix(".model-")
        .tempdir_in(parent)
        .map_err(io("create a directory in", parent))?;
    let write = |name: &str, bytes: &[u8]| -> Result<(), ModelError> {
        let path = staging.path().join(name);
        let mut file = fs::File::create(&path).map_err(io("create", &path))?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(io("write", &path))
    };
    write("config.json", &pretty(&config.to_json()))?;
    for (name, bytes) in tokenizer_files {
        write(name, bytes)?;
    }
    write_weights(&staging.path().join("model.safetensors"), weights)?;
    sync_dir(staging.path()).map_err(io("flush", staging.path()))?;
    make_readable(staging.path()).map_err(io("set permissions of", staging.path()))?;
    fs::rename(staging.path(), dir).map_err(io("rename a finished model to", dir))?;
    // Renamed away: nothing is left to remove.
    drop(staging.keep());
    sync_dir(parent).map_err(io("flush", parent))
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("names and numbers serialize");
    bytes.push(b'\n');
    bytes
}

fn write_weights<'a>(path: &Path, weights: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<(), ModelError> {
    let io = |source| ModelError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let mut values = BTreeMap::new();
    for (name, tensor) in weights {
        let tensor = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        values.insert(name, (tensor.dims().to_vec(), little_endian(&tensor)?));
    }
    let views = values
        .iter()
        .map(|(name, (shape, bytes))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("four bytes for each element");
            (*name, view)
        })
        .collect::<Vec<_>>();
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let bytes = safetensors::serialize(views, metadata).map_err(|error| ModelError::Weights {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let mut file = fs::File::create(path).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)
}

fn little_endian(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    Ok(tensor
        .flatten_all()?
        .to_vec1::<f32>()?
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect())
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// Temporary directories are private to their owner; a finished model is for whoever may read its parent.
#[cfg(unix)]
fn make_readable(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}
