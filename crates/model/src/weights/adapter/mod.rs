//! A LoRA adapter in the layout of PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! It adds s · B · A to some weights of a model, and may replace others (`modules_to_save`, biases). Every tensor of the file is
//! applied to a weight that the model has, or the adapter is refused.

pub(super) mod base;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, safetensors::Load as _};
use leadspan_files::hash_contents;
use safetensors::Dtype;

use self::{
    base::another_model,
    settings::{LoraSettings, MERGE, SAVE, Unscaled},
};
use super::{gguf::reads, lora::directory::BASE_WEIGHTS, mapped::MappedWeights, text_names::TextNames};
use crate::{config::DecoderConfig, error::ModelError};

const SETTINGS: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// What the name of every tensor begins with.
const PREFIX: &str = "base_model.model.";
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// A LoRA adapter that fits the names of a model.
pub(crate) struct Adapter {
    dir: PathBuf,
    settings: LoraSettings,
    /// What happens to each weight, by its name.
    changes: BTreeMap<String, Change>,
}

/// What happens to a weight. The fields are names of tensors.
#[derive(Default)]
struct Change {
    replaced_by: Option<String>,
    added: Option<LowRank>,
}

/// What is added to a weight: `scale` · B · A.
#[derive(Default)]
struct LowRank {
    a: Option<String>,
    b: Option<String>,
    /// What PEFT calls the module, for the expressions of the settings.
    module: String,
    /// Whether the product is the transposed weight, as for an embedding.
    is_transposed: bool,
    scale: f64,
}

impl Adapter {
    /// Reads the settings and the names of the tensors. The base is at `model`, and has the architecture `config`.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged, or the adapter asks for something that is not read or that the base does not have.
    pub(crate) fn open(dir: &Path, model: &Path, config: &DecoderConfig) -> Result<Self, ModelError> {
        if !dir.is_dir() {
            let hint = "name a folder that PEFT's `save_pretrained` wrote";
            return Err(refusal(dir, "it is no folder".to_owned(), hint));
        }
        for file in [SETTINGS, TENSORS] {
            if dir.join(file).symlink_metadata().is_err() {
                return Err(refusal(dir, format!("it has no `{file}`"), SAVE));
            }
        }
        let mut adapter = Self {
            dir: dir.to_owned(),
            settings: LoraSettings::read(&dir.join(SETTINGS))?,
            changes: BTreeMap::new(),
        };
        if let Some(base) = &adapter.settings.base
            && let Some(id) = another_model(model, base)
        {
            return Err(refusal(
                dir,
                format!("it is one of `{base}`, but the model is `{id}`"),
                ANOTHER,
            ));
        }
        let file = adapter.map()?;
        for name in file.names() {
            adapter.collect(&file, &name, config)?;
        }
        if adapter.changes.is_empty() {
            return Err(adapter.refuse("it changes no weight".to_owned()));
        }
        for change in adapter.changes.values_mut() {
            if let Some(added) = &mut change.added {
                added.scale = scale_of(&adapter.settings, &file, added)
                    .map_err(|Unscaled { reason, hint }| refusal(dir, reason, hint))?;
            }
        }
        adapter.require_listed(config)?;
        Ok(adapter)
    }

    /// Notes what a tensor does to which weight.
    fn collect(&mut self, file: &MappedWeights, name: &str, config: &DecoderConfig) -> Result<(), ModelError> {
        let part = name.strip_prefix(PREFIX).unwrap_or_default();
        let low_rank = [
            (".lora_A.weight", true, false),
            (".lora_B.weight", false, false),
            (".lora_embedding_A", true, true),
            (".lora_embedding_B", false, true),
        ];
        let found = low_rank
            .iter()
            .find_map(|&(suffix, is_a, is_transposed)| Some((part.strip_suffix(suffix)?, is_a, is_transposed)));
        let changed = match found {
            Some((module, _, _)) => format!("{module}.weight"),
            None => part.replace(".base_layer.", "."),
        };
        let description = config.family.description();
        if description.left_out.iter().any(|start| changed.starts_with(start)) {
            // It is part of what sees images, which the decoder of text leaves out.
            return Ok(());
        }
        let weight = match description.with_images {
            Some(_) => TextNames::of_text_model(&changed),
            None => changed,
        };
        let is_embedding = weight == EMBEDDING;
        if config.tie_word_embeddings && (is_embedding || weight == HEAD) {
            let reason = format!("`{name}` changes the embedding or the head, which are one weight in this model");
            return Err(refusal(&self.dir, reason, MERGE));
        }
        if !reads(&weight, config) || found.is_some_and(|(_, _, is_transposed)| is_transposed != is_embedding) {
            let reason = format!(
                "its tensor `{name}` belongs to no weight of the model{}",
                self.for_base()
            );
            return Err(refusal(&self.dir, reason, OTHER));
        }
        match file.tensor(name).map(|view| view.dtype()) {
            Some(Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) => {}
            dtype => {
                let stored = dtype.map_or_else(String::new, |dtype| dtype.to_string());
                return Err(self.refuse(format!("`{name}` is stored as {stored}, which is not supported")));
            }
        }
        let change = self.changes.entry(weight).or_default();
        let place = match found {
            None => &mut change.replaced_by,
            Some((_, is_a, is_transposed)) => {
                let added = change.added.get_or_insert_default();
                added.module = found.map(|(module, ..)| module.to_owned()).unwrap_or_default();
                added.is_transposed = is_transposed;
                if is_a { &mut added.a } else { &mut added.b }
            }
        };
        match place.replace(name.to_owned()) {
            Some(other) => Err(self.refuse(format!("its tensors `{other}` and `{name}` are for one place"))),
            None => Ok(()),
        }
    }

    /// Refuses an adapter that lacks the tensors of a module that it lists as changed and that the model has.
    fn require_listed(&self, config: &DecoderConfig) -> Result<(), ModelError> {
        type Has = fn(&Change) -> bool;
        let LoraSettings { targets, saved, .. } = &self.settings;
        let lists: [(&str, &[String], Has); 2] = [
            ("target_modules", targets, |change| change.added.is_some()),
            ("modules_to_save", saved, |change| change.replaced_by.is_some()),
        ];
        for (key, name, has) in lists
            .iter()
            .flat_map(|(key, names, has)| names.iter().map(move |name| (key, name, has)))
        {
            let places = ["model.layers.0.self_attn.", "model.layers.0.mlp.", "model.", ""];
            let is_of_model = places
                .iter()
                .any(|place| reads(&format!("{place}{name}.weight"), config));
            let (alone, below) = (format!("{name}.weight"), format!(".{name}.weight"));
            let is_there =
                |(weight, change): (&String, &Change)| has(change) && (*weight == alone || weight.ends_with(&below));
            if is_of_model && !self.changes.iter().any(is_there) {
                let reason = format!("it lists `{name}` in `{key}`, but has no tensors for it");
                return Err(refusal(&self.dir, reason, SAVE));
            }
        }
        Ok(())
    }

    /// Its files, ordered by name.
    pub(crate) fn files(&self) -> [PathBuf; 2] {
        [SETTINGS, TENSORS].map(|file| self.dir.join(file))
    }

    /// A digest of what it does: of the bytes of its tensors, and of the scales.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn fingerprint(&self) -> Result<String, ModelError> {
        let mut hasher = blake3::Hasher::new();
        let path = self.dir.join(TENSORS);
        hash_contents(&mut hasher, &path).map_err(|source| ModelError::Io {
            action: "read",
            path,
            source,
        })?;
        for (weight, change) in &self.changes {
            if let Some(added) = &change.added {
                hasher.update(weight.as_bytes()).update(&added.scale.to_le_bytes());
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Refuses it if it says that it was learnt on weights of another digest than `weights`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`], and if the file cannot be read.
    pub(super) fn require_base(&self, weights: &str) -> Result<(), ModelError> {
        match self.stated_base()? {
            Some(stated) if stated != weights => {
                let hint = "name the model that the student started from, as it was then; to use the adapter on other weights, \
                            merge the two with PEFT (`merge_and_unload`)";
                let reason = "it was learnt on other weights than those of the model".to_owned();
                Err(refusal(&self.dir, reason, hint))
            }
            _ => Ok(()),
        }
    }

    /// The digest of the weights that it says it was learnt on; `None` if it does not say it, as those of PEFT.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn stated_base(&self) -> Result<Option<String>, ModelError> {
        Ok(self.map()?.metadata(BASE_WEIGHTS).map(str::to_owned))
    }

    /// Maps the file of its tensors.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or is damaged.
    pub(super) fn map(&self) -> Result<MappedWeights, ModelError> {
        MappedWeights::open(&self.dir.join(TENSORS))
    }

    /// Whether it changes the weight `name`.
    pub(super) fn changes(&self, name: &str) -> bool {
        self.changes.contains_key(name)
    }

    /// The weight `name` of the base, in single precision, as the adapter changes it.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit, or the device fails.
    pub(super) fn apply(&self, file: &MappedWeights, name: &str, weight: Tensor) -> Result<Tensor, ModelError> {
        let Some(change) = self.changes.get(name) else {
            return Ok(weight);
        };
        let device = weight.device().clone();
        let fitting = |tensor: Tensor| {
            if tensor.dims() == weight.dims() {
                return Ok(tensor);
            }
            let (found, expected, base) = (tensor.dims(), weight.dims(), self.for_base());
            let reason = format!("what it has for `{name}` has shape {found:?}, but the model's is {expected:?}{base}");
            Err(refusal(&self.dir, reason, OTHER))
        };
        let replaced = match &change.replaced_by {
            Some(replacement) => fitting(self.load(file, replacement, &device)?)?,
            None => weight.clone(),
        };
        let Some(LowRank {
            a: Some(a),
            b: Some(b),
            is_transposed,
            scale,
            ..
        }) = &change.added
        else {
            return Ok(replaced);
        };
        let product = self.load(file, b, &device)?.matmul(&self.load(file, a, &device)?)?;
        let product = if *is_transposed { product.t()? } else { product };
        Ok((replaced + fitting(product)?.affine(*scale, 0.0)?)?)
    }

    /// A tensor in single precision.
    fn load(&self, file: &MappedWeights, name: &str, device: &Device) -> Result<Tensor, ModelError> {
        let gone = || self.refuse(format!("its tensor `{name}` is gone"));
        let view = file.tensor(name).ok_or_else(gone)?;
        Ok(view.load(device)?.to_dtype(DType::F32)?)
    }

    /// The refusal to change weights that stay as a GGUF file stores them.
    pub(super) fn refuse_native(&self) -> ModelError {
        let hint = "set the dtype to `f32`, or to `bf16` on a GPU";
        refusal(
            &self.dir,
            "it changes weights, which `native` leaves as they are".to_owned(),
            hint,
        )
    }

    fn refuse(&self, reason: String) -> ModelError {
        refusal(&self.dir, reason, MERGE)
    }

    /// For messages: the base that the adapter names.
    fn for_base(&self) -> String {
        let base = self.settings.base.as_deref();
        base.map_or_else(String::new, |base| format!(" (the adapter is one of `{base}`)"))
    }
}

/// What the product of two matrices is multiplied by.
///
/// # Errors
///
/// If one is missing, or their shapes do not fit each other or the settings.
fn scale_of(settings: &LoraSettings, file: &MappedWeights, added: &LowRank) -> Result<f64, Unscaled> {
    let module = &added.module;
    let shape = |name: &Option<String>| Some(file.tensor(name.as_deref()?)?.shape().to_vec());
    match (shape(&added.a).as_deref(), shape(&added.b).as_deref()) {
        (Some(&[rank, _]), Some(&[_, other])) if rank == other && rank > 0 => settings.scale(module, rank),
        (Some(a), Some(b)) => Err(Unscaled {
            reason: format!("the shapes {a:?} and {b:?} of its two matrices for `{module}` do not fit"),
            hint: SAVE,
        }),
        _ => Err(Unscaled {
            reason: format!("it has one of the two matrices for `{module}`"),
            hint: SAVE,
        }),
    }
}

const ANOTHER: &str = "use the model that the adapter was trained for; if the two are the same, write the model's id into \
                       `base_model_name_or_path` of `adapter_config.json`";
const OTHER: &str = "use the model that the adapter was trained for, or merge the two with PEFT (`merge_and_unload`)";

/// Refuses a model directory that has an adapter beside its weights: PEFT would apply it, and nobody said whether.
pub(super) fn refuse_beside(dir: &Path) -> Result<(), ModelError> {
    const HINT: &str = "name the directory as the adapter too (`teacher.adapter`, `evaluate.adapter`), or move \
                        `adapter_config.json` away";
    if !dir.join(SETTINGS).exists() {
        return Ok(());
    }
    let reason = "it lies beside the weights of a model that is to be used without it".to_owned();
    Err(refusal(dir, reason, HINT))
}

fn refusal(dir: &Path, reason: String, hint: &'static str) -> ModelError {
    ModelError::Adapter {
        path: dir.to_owned(),
        reason,
        hint,
    }
}
