//! Opens the student and checks that it can learn from this cache.

use std::path::Path;

use candle_core::Device;
use leadspan_cache::{Cache, Reader};
use leadspan_model::{
    Decoder, DecoderConfig, Kernels, ModelSource, Parameters, StudentDtype, StudentStart, TokenizerBundle,
};
use leadspan_sequence::Split;
use serde_json::{Value, json};

use crate::{StudentSettings, TrainError, comparison::with_trusted_training, objective::Distillation};

/// The student with its parameters, and a view of it that builds no graph.
pub(crate) struct Student {
    pub(crate) decoder: Decoder,
    pub(crate) parameters: Parameters,
    /// Shares every parameter with `decoder`, and so is always up to date.
    pub(crate) frozen: Decoder,
    /// Everything that its initial weights depend on, without paths.
    pub(crate) origin: Value,
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
    let (start, origin) = match (&settings.model, &settings.config, &settings.layers) {
        (Some(model), None, layers) => {
            let source = ModelSource::open(model)?;
            require_tokenizer(model, &source.tokenizer()?, cache)?;
            let origin = json!({
                "config": source.config_fingerprint(),
                "weights": source.weights_fingerprint()?,
                "layers": layers,
            });
            let layers = layers.clone();
            (StudentStart::Model { source, layers }, origin)
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
    let (decoder, parameters) = Decoder::trainable_in(dtype, &start, device)?;
    let decoder = with_trusted_training(decoder.with_trusted_kernels(kernels), distillation);
    let frozen = Decoder::frozen(decoder.config(), &parameters, device)?.with_kernels(decoder.kernels());
    Ok(Student {
        decoder,
        parameters,
        frozen,
        origin,
    })
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
