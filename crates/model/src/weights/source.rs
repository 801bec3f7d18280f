//! A model on disk: a directory in the Hugging Face layout, or a GGUF file.

use std::path::{Path, PathBuf};

use candle_core::Device;

use crate::{
    DecoderConfig, ModelError, StoredDtype, TokenizerBundle,
    weights::gguf::{GgufFile, GgufWeights},
    weights::safetensors::{SafetensorsFiles, weight_files},
    weights::weight_source::WeightSource,
};

/// A model on disk, its architecture already read.
pub struct ModelSource {
    path: PathBuf,
    config: DecoderConfig,
    layout: Layout,
}

enum Layout {
    Directory,
    Gguf(Box<GgufFile>),
}

impl ModelSource {
    /// Opens a model directory or a `.gguf` file; weights are not read yet.
    ///
    /// # Errors
    ///
    /// Where there is nothing at `path`, or its configuration is missing, damaged or unsupported.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if path.is_dir() {
            let config_path = path.join("config.json");
            if !config_path.is_file() {
                return Err(ModelError::MissingFile {
                    dir: path.to_owned(),
                    file: "config.json",
                });
            }
            let config = DecoderConfig::from_json_file(&config_path)?;
            return Ok(Self {
                path: path.to_owned(),
                config,
                layout: Layout::Directory,
            });
        }
        if !path.is_file() {
            return Err(ModelError::NotFound { path: path.to_owned() });
        }
        let file = GgufFile::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            config: file.config()?,
            layout: Layout::Gguf(Box::new(file)),
        })
    }

    /// Where the model is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Its tokenizer, chat template and the files that an exported model needs.
    ///
    /// # Errors
    ///
    /// Where the tokenizer is missing, damaged, or of a kind that cannot be built.
    pub fn tokenizer(&self) -> Result<TokenizerBundle, ModelError> {
        match &self.layout {
            Layout::Directory => TokenizerBundle::from_dir(&self.path),
            Layout::Gguf(file) => TokenizerBundle::from_gguf(file),
        }
    }

    /// A digest of the architecture, independent of how it was written down.
    pub fn config_fingerprint(&self) -> String {
        let canonical = serde_json::to_vec(&self.config).expect("numbers and names serialize");
        blake3::hash(&canonical).to_hex().to_string()
    }

    /// The files that hold the weights, in the order of their names.
    ///
    /// # Errors
    ///
    /// Where a directory has none, or its index names files that are missing.
    pub fn weight_files(&self) -> Result<Vec<PathBuf>, ModelError> {
        match &self.layout {
            Layout::Directory => weight_files(&self.path),
            Layout::Gguf(_) => Ok(vec![self.path.clone()]),
        }
    }

    /// A digest of the weight files' bytes, in the order of their names.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read.
    pub fn weights_fingerprint(&self) -> Result<String, ModelError> {
        let mut hasher = blake3::Hasher::new();
        for path in self.weight_files()? {
            hasher.update_mmap_rayon(&path).map_err(|source| ModelError::Io {
                action: "read",
                path: path.clone(),
                source,
            })?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    pub(crate) fn weights<'a>(
        &'a self,
        dtype: StoredDtype,
        device: &Device,
    ) -> Result<Box<dyn WeightSource + 'a>, ModelError> {
        Ok(match &self.layout {
            Layout::Directory if dtype == StoredDtype::Native => {
                return Err(ModelError::NativeNeedsGguf {
                    path: self.path.clone(),
                });
            }
            Layout::Directory => Box::new(SafetensorsFiles::open(&self.path, dtype.dense(), device)?),
            Layout::Gguf(file) => Box::new(GgufWeights {
                file,
                config: &self.config,
                dtype,
                device: device.clone(),
            }),
        })
    }
}
