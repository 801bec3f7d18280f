//! Weights in safetensors files: one file, or several with an index.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, safetensors::MmapedSafetensors};
use serde::Deserialize;

use super::weight_source::WeightSource;
use crate::error::ModelError;

/// The weight files of a model directory, in a fixed order.
///
/// # Errors
///
/// If there are none, or the index is damaged or points outside the directory.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let single = dir.join("model.safetensors");
    let index_path = dir.join("model.safetensors.index.json");
    if single.is_file() || !index_path.is_file() {
        return if single.is_file() {
            Ok(vec![single])
        } else {
            Err(ModelError::MissingFile {
                dir: dir.to_owned(),
                file: "model.safetensors",
            })
        };
    }
    let text = std::fs::read_to_string(&index_path).map_err(|source| ModelError::Io {
        action: "read",
        path: index_path.clone(),
        source,
    })?;
    let index: Index = serde_json::from_str(&text).map_err(|error| ModelError::InvalidJson {
        path: index_path.clone(),
        reason: error.to_string(),
    })?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    files
        .into_iter()
        .map(|file| {
            let components: Vec<Component> = Path::new(&file).components().collect();
            if matches!(components.as_slice(), [Component::Normal(_)]) && !file.contains('\\') {
                Ok(dir.join(file))
            } else {
                Err(ModelError::IndexOutside {
                    index: index_path.clone(),
                    file,
                })
            }
        })
        .collect()
}

/// Memory-mapped safetensors files.
pub(crate) struct SafetensorsFiles {
    /// The directory, for messages.
    dir: PathBuf,
    files: MmapedSafetensors,
    dtype: DType,
    device: Device,
}

impl SafetensorsFiles {
    /// Maps the weight files of a model directory.
    ///
    /// # Errors
    ///
    /// As [`weight_files`], and if a file cannot be opened or is damaged.
    pub(crate) fn open(dir: &Path, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let paths = weight_files(dir)?;
        for path in &paths {
            if let Err(source) = std::fs::File::open(path) {
                return Err(ModelError::Io {
                    action: "open",
                    path: path.clone(),
                    source,
                });
            }
            // Each file alone first, so that a message about damage names the file.
            map(std::slice::from_ref(path)).map_err(|error| ModelError::Weights {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        }
        let files = map(&paths).map_err(|error| ModelError::Weights {
            path: dir.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            files,
            dtype,
            device: device.clone(),
        })
    }
}

#[expect(unsafe_code, reason = "memory-mapping weight files; the argument is at the block")]
fn map(paths: &[PathBuf]) -> candle_core::Result<MmapedSafetensors> {
    // SAFETY: the mapping is read-only and is dropped once the model is loaded. Model files are inputs that nobody changes
    // during a run. A file that shrinks while it is mapped ends the process (SIGBUS); this leaves no partial output behind,
    // because every output is committed by a rename.
    unsafe { MmapedSafetensors::multi(paths) }
}

impl WeightSource for SafetensorsFiles {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let view = self.files.get(name).map_err(|_| ModelError::MissingWeight {
            path: self.dir.clone(),
            name: name.to_owned(),
        })?;
        if view.shape() != shape {
            return Err(ModelError::WeightShape {
                path: self.dir.clone(),
                name: name.to_owned(),
                found: view.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        Ok(self.files.load(name, &self.device)?.to_dtype(self.dtype)?)
    }
}
