//! A model on disk: a directory in the Hugging Face layout, or a GGUF file.

use std::path::{Path, PathBuf};

use candle_core::Device;

use leadspan_files::hash_contents;

use super::{
    gguf::{file::GgufFile, weights::GgufWeights},
    safetensors::{SafetensorsFiles, weight_files},
    weight_source::WeightSource,
};
use crate::{config::DecoderConfig, device::StoredDtype, error::ModelError, tokenizer::TokenizerBundle};

/// A model on disk whose architecture has been read.
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
    /// Opens a model directory or a `.gguf` file. Weights are not read yet.
    ///
    /// # Errors
    ///
    /// If nothing is at `path`, or the configuration is missing, damaged or not supported.
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

    /// Its tokenizer, its chat template, and the files that an exported model needs.
    ///
    /// # Errors
    ///
    /// If the tokenizer is missing, damaged, or of an unsupported kind.
    pub fn tokenizer(&self) -> Result<TokenizerBundle, ModelError> {
        match &self.layout {
            Layout::Directory => TokenizerBundle::from_dir(&self.path),
            Layout::Gguf(file) => TokenizerBundle::from_gguf(file),
        }
    }

    /// A digest of the architecture. Every file format of the same model gives the same digest.
    pub fn config_fingerprint(&self) -> String {
        let canonical = serde_json::to_vec(&self.config).expect("numbers and names serialize");
        blake3::hash(&canonical).to_hex().to_string()
    }

    /// The files that hold the weights, ordered by name.
    ///
    /// # Errors
    ///
    /// If a directory has no weights, or its index is damaged or points outside the directory.
    pub fn weight_files(&self) -> Result<Vec<PathBuf>, ModelError> {
        match &self.layout {
            Layout::Directory => weight_files(&self.path),
            Layout::Gguf(_) => Ok(vec![self.path.clone()]),
        }
    }

    /// A digest of the bytes of the weight files, ordered by name.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn weights_fingerprint(&self) -> Result<String, ModelError> {
        let mut hasher = blake3::Hasher::new();
        for path in self.weight_files()? {
            hash_contents(&mut hasher, &path).map_err(|source| ModelError::Io {
                action: "read",
                path: path.clone(),
                source,
            })?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The weights, in the format `dtype`.
    ///
    /// # Errors
    ///
    /// If a file cannot be opened or is damaged, or `dtype` does not exist in this layout.
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

impl TokenizerBundle {
    /// The tokenizer of a directory in the Hugging Face layout, which need not hold a model, or of a GGUF file.
    ///
    /// # Errors
    ///
    /// If there is none, or it is damaged or of an unsupported kind.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if path.is_dir() {
            Self::from_dir(path)
        } else {
            ModelSource::open(path)?.tokenizer()
        }
    }
}
