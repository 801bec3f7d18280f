//! What preparing needs: settings, tokenizer, template and the hashes of the data, checked before anything is written.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use leadspan_cache::{CODEC_VERSION, Cache, Identity, PreparedCorpus, TeacherIdentity};
use leadspan_corpus::{
    ChatTemplate, DataSettings, FileFingerprint, KnownSample, PrepareReport, RowRules, SectionSettings, input_files,
};
use leadspan_model::{ModelError, ModelSource, TokenizerBundle, files_with_stop_tokens};
use serde_json::Value;

use crate::{
    CacheSettings, Pipeline, PrecomputeError, Provenance, TextPipeline,
    data_hashes::{DataCheck, DataHashes},
    end_of_turn::end_of_turn,
    teacher::{Limits, TeacherSource},
    weights::WeightsHash,
};

/// Everything that can be checked before anything expensive is done and before anything is written.
pub(crate) struct Preparation<'a> {
    pub(super) text: Text<'a>,
    teacher: Option<&'a TeacherSource<'a>>,
    pub(super) tokenizer: TokenizerBundle,
    pub(super) template: ChatTemplate,
    template_blake3: String,
    /// Whether the template shows a token that ends the model's turn.
    pub(super) ends_turns: bool,
    pub(super) samples_per_shard: NonZeroU32,
    pub(super) data_hashes: DataHashes,
}

/// The data that becomes a corpus, and the cache that it goes to.
pub(super) struct Text<'a> {
    pub(super) base: &'a Path,
    /// The settings, with the most tokens of a sample that the model's context allows if none are set.
    pub(super) data: DataSettings,
    pub(super) sections: &'a SectionSettings,
    cache: &'a CacheSettings,
    data_check: DataCheck,
    /// The model that the tokenizer belongs to.
    model: PathBuf,
    /// Its bounds of the length of samples and the token ids.
    limits: Limits,
}

impl Text<'_> {
    pub(super) fn cache_dir(&self) -> PathBuf {
        self.base.join(&self.cache.dir)
    }

    /// Refuses settings that are wrong whatever the rows are. Returns the number of samples of a work unit.
    fn check(&self) -> Result<NonZeroU32, PrecomputeError> {
        self.cache.check()?;
        let max_tokens = self.data.max_tokens();
        if let Some(context) = self.limits.context
            && max_tokens > context
        {
            let model = self.model.clone();
            return Err(PrecomputeError::BeyondContext {
                max_tokens,
                context,
                model,
            });
        }
        input_files(self.base, &self.data)?;
        NonZeroU32::new(self.cache.samples_per_shard).ok_or(PrecomputeError::ZeroSetting {
            key: "cache.samples_per_shard",
        })
    }
}

impl<'a> Preparation<'a> {
    /// The preparation of a corpus for the teacher `source`.
    pub(crate) fn new(pipeline: &'a Pipeline, teacher: &'a TeacherSource<'a>) -> Result<Self, PrecomputeError> {
        let limits = teacher.limits();
        let text = Text {
            base: &pipeline.base,
            data: fitted(&pipeline.data, limits),
            sections: &pipeline.sections,
            cache: &pipeline.cache,
            data_check: pipeline.data_check,
            model: teacher.path().to_owned(),
            limits,
        };
        Self::of(text, || teacher.tokenizer(), teacher.model(), Some(teacher))
    }

    /// The preparation of a corpus without a teacher. `model` is the path of the tokenizer, `source` the model there, if there
    /// is one.
    pub(super) fn of_text(
        pipeline: &'a TextPipeline,
        model: PathBuf,
        source: Option<&'a ModelSource>,
        tokenizer: impl FnOnce() -> Result<TokenizerBundle, ModelError>,
    ) -> Result<Self, PrecomputeError> {
        let limits = source.map(Limits::of).unwrap_or_default();
        let text = Text {
            base: &pipeline.base,
            data: fitted(&pipeline.data, limits),
            sections: &pipeline.sections,
            cache: &pipeline.cache,
            data_check: pipeline.data_check,
            model,
            limits,
        };
        Self::of(text, tokenizer, source, None)
    }

    fn of(
        text: Text<'a>,
        tokenizer: impl FnOnce() -> Result<TokenizerBundle, ModelError>,
        source: Option<&ModelSource>,
        teacher: Option<&'a TeacherSource<'a>>,
    ) -> Result<Self, PrecomputeError> {
        let samples_per_shard = text.check()?;
        let mut tokenizer = tokenizer()?;
        let jinja = tokenizer
            .chat_template
            .as_deref()
            .ok_or_else(|| PrecomputeError::NoChatTemplate {
                model: text.model.clone(),
            })?;
        let template = ChatTemplate::of_model(jinja, tokenizer.named_tokens(), &text.sections.template_arguments)?
            .beside_tool_use(tokenizer.has_tool_use_template);
        let template_blake3 = blake3::hash(jinja.as_bytes()).to_hex().to_string();
        // A student learns to end its turn as the template does, and training does not open the template.
        let end = end_of_turn(&template, text.sections, &tokenizer);
        tokenizer.files = files_with_stop_tokens(&text.model, source, &tokenizer, end.as_slice())?;
        let data_hashes = DataHashes::of(&text.cache_dir(), text.data_check);
        Ok(Self {
            text,
            teacher,
            tokenizer,
            template,
            template_blake3,
            ends_turns: end.is_some(),
            samples_per_shard,
            data_hashes,
        })
    }

    /// The files of the data as they are now.
    pub(super) fn fingerprints(&self) -> Result<Vec<FileFingerprint>, PrecomputeError> {
        let Text { base, data, .. } = &self.text;
        Ok(self.data_hashes.fingerprints(base, &input_files(base, data)?)?)
    }

    /// The provenance of a corpus of these files, in the form that is stored.
    pub(super) fn provenance(&self, files: Vec<FileFingerprint>, report: &PrepareReport, rules: RowRules) -> Value {
        let provenance = Provenance {
            data: self.text.data.clone(),
            files,
            report: report.clone(),
            rules,
        };
        provenance.to_value()
    }

    /// Whether the model knows a token.
    pub(super) fn knows(&self, token: u32) -> bool {
        let vocabulary = self.text.limits.vocabulary;
        vocabulary.is_none_or(|vocabulary| (token as usize) < vocabulary)
    }

    /// Refuses a sample with a token that the model does not know.
    pub(crate) fn check_tokens(&self, id: &str, tokens: &[u32]) -> Result<(), PrecomputeError> {
        match (
            self.text.limits.vocabulary,
            tokens.iter().find(|&&token| !self.knows(token)),
        ) {
            (Some(vocabulary), Some(&token)) => Err(PrecomputeError::BeyondVocabulary {
                sample: id.to_owned(),
                token,
                vocabulary,
                model: self.text.model.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks that a cache was made with what the pipeline names.
    pub(crate) fn require_identity(&self, cache: &Cache) -> Result<(), PrecomputeError> {
        let identity = self.identity_with(self.weights_hash()?.as_ref())?;
        Ok(cache.require_identity(&identity)?)
    }

    /// The hash of the teacher's weights; `None` without a teacher. Reads all weights, unless the cache remembers their hash.
    pub(super) fn weights_hash(&self) -> Result<Option<WeightsHash>, PrecomputeError> {
        let hash = |teacher: &TeacherSource<'_>| teacher.weights_hash(&self.text.cache_dir());
        Ok(self.teacher.map(hash).transpose()?.flatten())
    }

    /// What must agree for stored distributions to mean the same. Without the hash of the teacher's weights it is not complete.
    ///
    /// # Errors
    ///
    /// If a server does not answer as the cache remembers.
    pub(crate) fn identity_with(&self, weights: Option<&WeightsHash>) -> Result<Identity, PrecomputeError> {
        // A server's answers are approximate, so those that are stored stay the identity's.
        let stored = Cache::open(&self.text.cache_dir()).ok();
        let stored = stored.as_ref().and_then(|cache| cache.identity().teacher.as_ref());
        self.identity_like(weights, stored)
    }

    /// Like [`identity_with`](Self::identity_with), where `stored` is the teacher of a cache with which this one may be the same.
    ///
    /// # Errors
    ///
    /// If a server does not answer as that cache remembers.
    pub(super) fn identity_like(
        &self,
        weights: Option<&WeightsHash>,
        stored: Option<&TeacherIdentity>,
    ) -> Result<Identity, PrecomputeError> {
        let teacher = self
            .teacher
            .map(|teacher| teacher.identity(weights, stored))
            .transpose()?;
        Ok(Identity {
            teacher,
            tokenizer: self.tokenizer.fingerprint.clone(),
            chat_template: self.template_blake3.clone(),
            sections: self.text.sections.identity(),
            entries: self.text.cache.entries(),
            precision: self.text.cache.precision,
            codec: CODEC_VERSION,
        })
    }
}

/// The settings, with as many tokens for a sample as the model's context allows if they are not set.
fn fitted(data: &DataSettings, limits: Limits) -> DataSettings {
    let mut data = data.clone();
    data.fit_max_tokens(limits.fitting);
    data
}

/// The samples of a corpus, as appending asks for them.
pub(super) fn known_samples(corpus: &PreparedCorpus) -> Vec<KnownSample<'_>> {
    let samples = corpus.samples().enumerate();
    samples
        .map(|(index, sample)| KnownSample {
            id: sample.id,
            split: sample.split,
            row_hash: corpus.row_hash(index),
        })
        .collect()
}
