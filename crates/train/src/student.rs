//! Opens the student and checks that it can learn from this cache.

use std::path::Path;

use candle_core::{Device, Tensor};
use leadspan_cache::{Cache, Reader};
use leadspan_model::{
    AdapterBase, Decoder, DecoderConfig, Kernels, LoraSettings, ModelError, ModelSource, Parameters, StudentDtype,
    StudentStart, TokenizerBundle, merged_weights, write_adapter_dir, write_model_dir,
};
use leadspan_sequence::Split;
use serde_json::{Value, json};

use crate::{
    StudentSettings, TrainError, comparison::with_trusted_training, objective::Distillation, optimizer::is_finite,
};

/// The student with its parameters, and a view of it that builds no graph.
pub(crate) struct Student {
    pub(crate) decoder: Decoder,
    pub(crate) parameters: Parameters,
    /// Shares every parameter with `decoder`, and so is always up to date.
    pub(crate) frozen: Decoder,
    /// Everything that its initial weights depend on, without paths.
    pub(crate) origin: Value,
    /// The base of the adapter that is exported; `None` if a whole student is.
    base: Option<AdapterBase>,
}

impl Student {
    /// The name of the first weight that is not learnt and has a number that is not finite; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) fn first_constant_not_finite(&self) -> Result<Option<String>, TrainError> {
        for (name, weight) in self.parameters.constants() {
            if !is_finite(weight)? {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// Writes the student or its adapter into the new directory `dir`. `learnt` are its parameters in single precision.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, or the device fails.
    pub(crate) fn export(
        &self,
        dir: &Path,
        learnt: &[(&str, Tensor)],
        tokenizer_files: &[(String, Vec<u8>)],
    ) -> Result<(), ModelError> {
        let config = self.decoder.config();
        let tensors = || learnt.iter().map(|(name, tensor)| (*name, tensor));
        match (self.parameters.lora(), &self.base) {
            (None, _) => write_model_dir(dir, config, tensors(), tokenizer_files),
            (Some(lora), Some(base)) => write_adapter_dir(dir, lora, base, tensors(), tokenizer_files),
            (Some(_), None) => {
                let merged = merged_weights(&self.parameters, learnt)?;
                let merged = merged.iter().map(|(name, tensor)| (name.as_str(), tensor));
                write_model_dir(dir, config, merged, tokenizer_files)
            }
        }
    }
}

/// Opens the student that `settings` describe, to learn in `dtype` by `distillation`, with `kernels` if they can be trusted.
///
/// # Errors
///
/// If the settings contradict each other, the model cannot be read, or its tokenizer is not the cache's.
pub(crate) fn open(
    settings: &StudentSettings,
    cache: &Cache,
    (dtype, distillation): (StudentDtype, Distillation),
    kernels: Kernels,
    device: &Device,
) -> Result<Student, TrainError> {
    let mut base = None;
    let (start, mut origin) = match (&settings.model, &settings.config, &settings.layers) {
        (Some(model), None, layers) => {
            let source = ModelSource::open(model)?;
            require_tokenizer(model, &source.tokenizer()?, cache)?;
            let weights = source.weights_fingerprint()?;
            let origin = json!({
                "config": source.config_fingerprint(),
                "weights": weights,
                "layers": layers,
            });
            if let Some(LoraSettings { merged: false, .. }) = &settings.lora {
                require_whole(settings, &source)?;
                base = Some(source.as_adapter_base(settings.revision.as_deref(), weights));
            }
            let layers = layers.clone();
            (StudentStart::Model { source, layers }, origin)
        }
        (None, Some(_), None) if settings.lora.is_some() => {
            return Err(TrainError::LoraBase {
                key: "student.config",
                because: "adapters change trained weights, and those of a configuration are random",
            });
        }
        (None, Some(config), None) => {
            if let Some(tokenizer) = &settings.tokenizer {
                require_tokenizer(tokenizer, &TokenizerBundle::open(tokenizer)?, cache)?;
            }
            let config = DecoderConfig::from_json_file(config)?;
            let seed = settings.seed;
            let origin = json!({ "config": config, "seed": seed });
            (StudentStart::Config { config, seed }, origin)
        }
        _ => return Err(TrainError::StudentStart),
    };
    let (decoder, parameters) = match &settings.lora {
        None => Decoder::trainable_in(dtype, &start, device)?,
        Some(lora) => {
            origin["lora"] = json!({ "settings": lora, "seed": settings.seed });
            Decoder::adapted(dtype, &start, (lora, settings.seed), device)?
        }
    };
    let decoder = with_trusted_training(decoder.with_trusted_kernels(kernels), distillation);
    let frozen = Decoder::frozen(decoder.config(), &parameters, device)?.with_kernels(decoder.kernels());
    Ok(Student {
        decoder,
        parameters,
        frozen,
        origin,
        base,
    })
}

/// Refuses to export an adapter of which no model on disk is the base.
fn require_whole(settings: &StudentSettings, source: &ModelSource) -> Result<(), TrainError> {
    let refuse = |key, because| Err(TrainError::LoraBase { key, because });
    if settings.layers.is_some() {
        return refuse(
            "student.layers",
            "an adapter of some layers would not fit the whole model",
        );
    }
    if source.is_part_of_another() {
        let because = "its model also reads images, and an adapter of the text part alone would not fit it";
        return refuse("student.model", because);
    }
    Ok(())
}

/// Refuses a tokenizer that is not the cache's.
fn require_tokenizer(of: &Path, found: &TokenizerBundle, cache: &Cache) -> Result<(), TrainError> {
    let (found, expected) = (&found.fingerprint, &cache.identity().tokenizer);
    if found == expected {
        return Ok(());
    }
    Err(TrainError::OtherTokenizer {
        student: of.to_owned(),
        found: found.clone(),
        expected: expected.clone(),
    })
}

/// Refuses samples that the student cannot take: with tokens outside its vocabulary, or longer than its context.
///
/// # Errors
///
/// The first such sample.
pub(crate) fn check_samples(config: &DecoderConfig, reader: &Reader) -> Result<(), TrainError> {
    let corpus = reader.corpus();
    for (index, sample) in corpus.samples().enumerate() {
        let vocabulary = config.vocab_size;
        // The tokens of the sample are read only if one of them is too large.
        if corpus.largest_token(index) as usize >= vocabulary
            && let Some(&token) = corpus
                .tokens(index)?
                .iter()
                .find(|&&token| token as usize >= vocabulary)
        {
            let sample = sample.id.to_owned();
            return Err(TrainError::TokenOutsideVocabulary {
                vocabulary,
                sample,
                token,
            });
        }
        let tokens = match sample.split {
            Split::Train => reader.coverage().proportion.kept(sample.token_count()),
            Split::Validation => sample.token_count(),
        };
        let context = config.context();
        if tokens > context {
            let sample = sample.id.to_owned();
            return Err(TrainError::Context {
                sample,
                tokens,
                context,
            });
        }
    }
    Ok(())
}
