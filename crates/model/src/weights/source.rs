//! A model on disk: a directory in the Hugging Face layout, or a GGUF file.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use candle_core::Device;
use leadspan_files::hash_contents;
use serde_json::{Map, Value};

use super::{
    adapter::{Adapter, base::hub_id, refuse_beside},
    gguf::{file::GgufFile, weights::GgufWeights},
    joined::{JoinedWeights, joined_name},
    lora::directory::AdapterBase,
    merged::MergedWeights,
    safetensors::{SafetensorsFiles, weight_files},
    weight_source::WeightSource,
};
use crate::{
    config::{DecoderConfig, json::read_object, keys::Keys, quantization::Quantization},
    device::StoredDtype,
    error::ModelError,
    tokenizer::TokenizerBundle,
};

/// A model on disk whose architecture has been read.
pub struct ModelSource {
    path: PathBuf,
    config: DecoderConfig,
    layout: Layout,
    adapter: Option<Adapter>,
}

/// The names of the weights that the decoder of a configuration reads.
pub(crate) type WeightNames = fn(&DecoderConfig) -> Result<BTreeSet<String>, ModelError>;

/// The file of a directory that describes the architecture.
const CONFIG: &str = "config.json";

enum Layout {
    /// With the keys of its `config.json`.
    Directory(Map<String, Value>),
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
            let config_path = path.join(CONFIG);
            if !config_path.exists() {
                return Err(ModelError::MissingFile {
                    dir: path.to_owned(),
                    file: CONFIG,
                });
            }
            let keys = read_object(&config_path)?;
            return Ok(Self {
                path: path.to_owned(),
                config: DecoderConfig::from_keys(Keys::new(&config_path, &keys))?,
                layout: Layout::Directory(keys),
                adapter: None,
            });
        }
        if !path.exists() {
            return Err(ModelError::NotFound { path: path.to_owned() });
        }
        let file = GgufFile::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            config: file.config()?,
            layout: Layout::Gguf(Box::new(file)),
            adapter: None,
        })
    }

    /// The model with the LoRA adapter in the folder `dir`, which is merged into the weights when they are read.
    ///
    /// Configuration, tokenizer and chat template stay those of the model.
    ///
    /// # Errors
    ///
    /// If the adapter cannot be read, asks for something that is not read, or belongs to a model with other weights.
    pub fn with_adapter(mut self, dir: &Path) -> Result<Self, ModelError> {
        self.adapter = Some(Adapter::open(dir, &self.path, &self.config)?);
        Ok(self)
    }

    /// Refuses an adapter that says that it was learnt on other weights than the model's. Those that leadspan exported say it.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`], and if a file cannot be read.
    pub fn require_base_of_adapter(&self) -> Result<(), ModelError> {
        match &self.adapter {
            Some(adapter) if adapter.stated_base()?.is_some() => {
                self.require_base_of_adapter_as(&self.weights_fingerprint()?)
            }
            _ => Ok(()),
        }
    }

    /// [`require_base_of_adapter`](Self::require_base_of_adapter) where the model's
    /// [`weights_fingerprint`](Self::weights_fingerprint) is known.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`], and if the adapter cannot be read.
    pub fn require_base_of_adapter_as(&self, weights: &str) -> Result<(), ModelError> {
        match &self.adapter {
            Some(adapter) => adapter.require_base(weights),
            None => Ok(()),
        }
    }

    /// The model as an adapter names its base: by the id of a Hub model in the local cache, or else by its path. `weights` is its
    /// [`weights_fingerprint`](Self::weights_fingerprint).
    pub fn as_adapter_base(&self, revision: Option<&str>, weights: String) -> AdapterBase {
        let name = if let Some((owner, name)) = hub_id(&self.path) {
            Some(format!("{owner}/{name}"))
        } else {
            let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
            path.to_str().map(str::to_owned)
        };
        AdapterBase {
            name,
            revision: revision.map(str::to_owned),
            weights,
        }
    }

    /// Whether the model is the text part of a model with images, which has other names of modules.
    pub fn is_part_of_another(&self) -> bool {
        matches!(&self.layout, Layout::Directory(keys) if keys.contains_key("text_config"))
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
            Layout::Directory(_) => TokenizerBundle::from_dir(&self.path),
            Layout::Gguf(file) => TokenizerBundle::from_gguf(file),
        }
    }

    /// How its weights are quantised, if it is a directory and they are. The values of a GGUF file say it themselves.
    ///
    /// # Errors
    ///
    /// If they are quantised in a way that is not read.
    fn quantization(&self) -> Result<Option<Quantization>, ModelError> {
        match &self.layout {
            Layout::Directory(keys) => Quantization::read(Keys::new(&self.path.join(CONFIG), keys)),
            Layout::Gguf(_) => Ok(None),
        }
    }

    /// A digest of the architecture. Every file format of the same model gives the same digest, except that a quantised model
    /// in the Hugging Face layout has another.
    pub fn config_fingerprint(&self) -> String {
        // Earlier versions took quantised numbers for the weights: what they stored must not count as of this model.
        let canonical = match self.quantization() {
            Ok(Some(quantization)) => serde_json::to_vec(&(&self.config, quantization)),
            Ok(None) | Err(_) => serde_json::to_vec(&self.config),
        };
        let canonical = canonical.expect("numbers and names serialize");
        blake3::hash(&canonical).to_hex().to_string()
    }

    /// The files that hold the weights, ordered by name.
    ///
    /// # Errors
    ///
    /// If a directory has no weights, or its index is damaged or points outside the directory, or if they are quantised in a
    /// way that is not read.
    pub fn weight_files(&self) -> Result<Vec<PathBuf>, ModelError> {
        self.quantization()?;
        match &self.layout {
            Layout::Directory(_) => weight_files(&self.path),
            Layout::Gguf(file) => Ok(file.paths().map(Path::to_owned).collect()),
        }
    }

    /// A digest of the bytes of the weight files, ordered by name. It does not depend on the adapter.
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

    /// The files of the adapter; none without one.
    pub fn adapter_files(&self) -> Vec<PathBuf> {
        self.adapter
            .as_ref()
            .map(Adapter::files)
            .into_iter()
            .flatten()
            .collect()
    }

    /// A digest of what the adapter does to the weights; `None` without one.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn adapter_fingerprint(&self) -> Result<Option<String>, ModelError> {
        self.adapter.as_ref().map(Adapter::fingerprint).transpose()
    }

    /// The weights, in the format `dtype`, for a decoder that reads those of `names`.
    ///
    /// # Errors
    ///
    /// If a file cannot be opened, is damaged or has a weight that the decoder does not read, or `dtype` does not exist in this layout or with an adapter.
    pub(crate) fn weights<'a>(
        &'a self,
        names: WeightNames,
        dtype: StoredDtype,
        device: &Device,
    ) -> Result<Box<dyn WeightSource + 'a>, ModelError> {
        let stored: Box<dyn WeightSource + 'a> = match &self.adapter {
            None => self.stored_weights(names, dtype, device)?,
            Some(adapter) if dtype == StoredDtype::Native => return Err(adapter.refuse_native()),
            Some(adapter) => Box::new(MergedWeights {
                base: self.stored_weights(names, StoredDtype::F32, device)?,
                adapter,
                tensors: adapter.map()?,
                dtype: dtype.dense(),
            }),
        };
        // An adapter changes joined weights as a whole, so they are split after it.
        if self.config.family.description().stores_joined_weights {
            return Ok(Box::new(JoinedWeights {
                stored,
                config: &self.config,
            }));
        }
        Ok(stored)
    }

    /// Bytes in memory of the weight `name` of a product, of this many elements, in the format `dtype`.
    pub(crate) fn product_bytes(&self, dtype: StoredDtype, name: &str, elements: usize) -> u64 {
        match &self.layout {
            Layout::Gguf(file) if dtype == StoredDtype::Native => {
                let weights = GgufWeights {
                    file,
                    config: &self.config,
                    dtype,
                    device: Device::Cpu,
                };
                weights.native_bytes(name, elements)
            }
            _ => (elements * dtype.dense().size_in_bytes()) as u64,
        }
    }

    /// The names of `names` as the family stores them. Files with `count` tensors hold no more layers, and no more experts, however
    /// many the configuration claims.
    fn read_names(&self, names: WeightNames, count: usize) -> Result<BTreeSet<String>, ModelError> {
        let mut config = self.config.clone();
        config.num_hidden_layers = config.num_hidden_layers.min(count);
        if let Some(experts) = &mut config.experts {
            experts.count = experts.count.min(count);
        }
        let names = names(&config)?;
        if !config.family.description().stores_joined_weights {
            return Ok(names);
        }
        Ok(names
            .into_iter()
            .map(|name| joined_name(&name).unwrap_or(name))
            .collect())
    }

    /// The weights as the files have them, without the adapter.
    fn stored_weights<'a>(
        &'a self,
        names: WeightNames,
        dtype: StoredDtype,
        device: &Device,
    ) -> Result<Box<dyn WeightSource + 'a>, ModelError> {
        Ok(match &self.layout {
            Layout::Directory(_) if dtype == StoredDtype::Native => {
                return Err(ModelError::NativeNeedsGguf {
                    path: self.path.clone(),
                });
            }
            Layout::Directory(_) => {
                if self.adapter.is_none() {
                    refuse_beside(&self.path)?;
                }
                let files = SafetensorsFiles::open(&self.path, self.quantization()?, dtype.dense(), device)?;
                if self.config.tie_word_embeddings {
                    files.refuse_separate_head()?;
                }
                files.refuse_unread(&self.read_names(names, files.count())?, &self.config)?;
                Box::new(files)
            }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use leadspan_diagnosis::Diagnosis as _;

    use super::*;

    #[test]
    fn a_file_that_is_no_model_by_itself_is_refused_with_what_to_give_instead() {
        let folder = tempfile::tempdir().unwrap();
        let header = br#"{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;
        let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
        for (name, bytes, hint) in [
            ("model.safetensors", &weights[..], "`config.json`"),
            ("rows.jsonl", b"{\"question\": \"1+1\"}\n", "`config.json`"),
            ("empty", b"", "`config.json`"),
            ("teacher.gguf", b"<html>", "download it again"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = ModelSource::open(&path).map(drop).unwrap_err();
            assert!(
                matches!(&error, ModelError::NotGguf { path: found } if *found == path),
                "{error}"
            );
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
    }

    #[test]
    fn a_model_with_nothing_but_pickled_weights_is_refused_with_the_command_that_converts_them() {
        let folder = tempfile::tempdir().unwrap();
        let hint = || weight_files(folder.path()).unwrap_err().hint();
        assert_eq!(hint(), None);
        fs::write(folder.path().join("pytorch_model.bin"), b"").unwrap();
        assert!(hint().unwrap().contains("save_pretrained"));
    }
}
