//! Making the cache and the prepared corpus in it, once; afterwards, making sure that both are still the same.

use std::{cell::RefCell, num::NonZeroU32, path::PathBuf};

use leadspan_cache::{CODEC_VERSION, Cache, CacheError, Identity, LockGuard, PreparedCorpus, TeacherIdentity};
use leadspan_corpus::{ChatTemplate, FileFingerprint, PrepareReport, files_fingerprint, input_files};
use leadspan_model::{ModelSource, TokenizerBundle};
use leadspan_sequence::Sample;

use crate::{DataChange, Event, Facts, Pipeline, PrecomputeError, undo::Before};

/// A cache that holds its prepared corpus.
#[derive(Clone, Debug)]
pub struct PreparedCache {
    /// The cache.
    pub cache: Cache,
    /// The corpus in it.
    pub corpus: PreparedCorpus,
    /// What became of the rows.
    pub report: PrepareReport,
    /// Whether the corpus was made now, rather than found.
    pub new: bool,
}

/// Makes the cache and the prepared corpus in it, or finds them there and makes sure that they are what is asked for.
///
/// Processes that do so at the same time wait for each other, and one of them does the work.
///
/// # Errors
///
/// Where the model, its chat template or the data cannot be used, where the cache was made with others, and where the
/// cache cannot be written. A cache that this call made is then removed again.
pub fn prepare(pipeline: &Pipeline, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
    let source = ModelSource::open(&pipeline.model_path())?;
    Preparation::new(pipeline, &source)?.prepare(events)
}

/// Everything that can be known to be right before anything expensive is done or anything is written.
pub(crate) struct Preparation<'a> {
    pipeline: &'a Pipeline,
    source: &'a ModelSource,
    tokenizer: TokenizerBundle,
    template: ChatTemplate,
    template_blake3: String,
    files: Vec<PathBuf>,
    samples_per_shard: NonZeroU32,
}

impl<'a> Preparation<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, source: &'a ModelSource) -> Result<Self, PrecomputeError> {
        let Pipeline { base, data, cache, .. } = pipeline;
        cache.check()?;
        let samples_per_shard = NonZeroU32::new(cache.samples_per_shard).ok_or(PrecomputeError::ZeroSetting {
            key: "cache.samples_per_shard",
        })?;
        let model = source.path().to_owned();
        let context = source.config().max_position_embeddings;
        if data.max_tokens > context {
            return Err(PrecomputeError::BeyondContext {
                max_tokens: data.max_tokens,
                context,
                model,
            });
        }
        let files = input_files(base, &data.files)?;
        let tokenizer = source.tokenizer()?;
        let text = tokenizer
            .chat_template
            .as_deref()
            .ok_or(PrecomputeError::NoChatTemplate { model })?;
        let template = ChatTemplate::new(text, tokenizer.bos_token.as_deref(), tokenizer.eos_token.as_deref())?;
        let template_blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
        Ok(Self {
            pipeline,
            source,
            tokenizer,
            template,
            template_blake3,
            files,
            samples_per_shard,
        })
    }

    /// Finds or makes the prepared corpus.
    pub(crate) fn prepare(&self, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
        let identity = self.identity()?;
        let fingerprints = files_fingerprint(&self.pipeline.base, &self.files)?;
        let prepared = self.find_or_make(&identity, &fingerprints, events)?;
        events(Event::Prepared {
            report: prepared.report.clone(),
            new: prepared.new,
        });
        Ok(prepared)
    }

    fn find_or_make(
        &self,
        identity: &Identity,
        fingerprints: &[FileFingerprint],
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let before = Before::look(&self.pipeline.cache_dir());
        let (cache, _lock) = self.lock(identity).inspect_err(|_| before.restore(identity))?;
        if let Some(found) = self.find(&cache, fingerprints)? {
            return Ok(found);
        }
        // The lock is still held here, so nobody else's cache is taken back.
        self.make(cache, fingerprints, events)
            .inspect_err(|_| before.restore(identity))
    }

    /// Opens or creates the cache; `None` in place of the lock where its corpus is there, so nothing is left to do.
    fn lock(&self, identity: &Identity) -> Result<(Cache, Option<LockGuard>), CacheError> {
        let dir = self.pipeline.cache_dir();
        loop {
            let cache = Cache::create_or_open(&dir, identity, &self.tokenizer.files)?;
            if cache.corpus()?.is_some() {
                return Ok((cache, None));
            }
            let lock = cache.lock_for_preparing()?;
            // Whoever held the lock until now may have prepared the corpus, or failed and taken the cache back.
            match Cache::open(&dir) {
                Ok(cache) => return Ok((cache, Some(lock))),
                Err(CacheError::NotACache { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The corpus that is there, made sure to be of the same data.
    fn find(&self, cache: &Cache, fingerprints: &[FileFingerprint]) -> Result<Option<PreparedCache>, PrecomputeError> {
        let Some(corpus) = cache.corpus()? else { return Ok(None) };
        let facts = Facts::of(&corpus, cache.dir())?;
        let (stored, asked) = (corpus.samples_per_shard(), self.samples_per_shard);
        let change = facts.change(&self.pipeline.data, fingerprints).or_else(|| {
            (stored != asked).then(|| DataChange::Setting {
                key: "cache.samples_per_shard".to_owned(),
                stored: stored.to_string(),
                asked: asked.to_string(),
            })
        });
        match change {
            Some(change) => Err(PrecomputeError::DataChanged {
                cache: cache.dir().to_owned(),
                change,
            }),
            None => Ok(Some(PreparedCache {
                cache: cache.clone(),
                corpus,
                report: facts.report,
                new: false,
            })),
        }
    }

    fn make(
        &self,
        cache: Cache,
        fingerprints: &[FileFingerprint],
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let Pipeline {
            base, data, sections, ..
        } = self.pipeline;
        let events = RefCell::new(events);
        let prepared = leadspan_corpus::prepare(
            base,
            data,
            sections,
            &self.template,
            &self.tokenizer.tokenizer,
            &|progress| {
                events.borrow_mut()(Event::Preparing(progress));
            },
        )?;
        self.check_vocabulary(&prepared.samples)?;
        let report = prepared.report;
        let facts = Facts {
            data: data.clone(),
            files: fingerprints.to_vec(),
            report: report.clone(),
        };
        let corpus = cache.write_corpus(
            &prepared.samples,
            &prepared.row_hashes,
            self.samples_per_shard,
            facts.to_value(),
        )?;
        Ok(PreparedCache {
            cache,
            corpus,
            report,
            new: true,
        })
    }

    fn check_vocabulary(&self, samples: &[Sample]) -> Result<(), PrecomputeError> {
        let vocabulary = self.source.config().vocab_size;
        let unknown = |sample: &Sample| {
            sample
                .tokens
                .iter()
                .copied()
                .find(|&token| token as usize >= vocabulary)
        };
        match samples.iter().find_map(|sample| Some((sample, unknown(sample)?))) {
            Some((sample, token)) => Err(PrecomputeError::BeyondVocabulary {
                sample: sample.id.clone(),
                token,
                vocabulary,
                model: self.source.path().to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Makes sure that a cache was made with what the pipeline names.
    pub(crate) fn require_identity(&self, cache: &Cache) -> Result<(), PrecomputeError> {
        Ok(cache.require_identity(&self.identity()?)?)
    }

    /// What must agree for stored distributions to mean the same. Reads all of the weights.
    fn identity(&self) -> Result<Identity, PrecomputeError> {
        Ok(Identity {
            teacher: TeacherIdentity {
                config_blake3: self.source.config_fingerprint(),
                weights_blake3: self.source.weights_fingerprint()?,
                dtype: self.pipeline.teacher.dtype.as_str().to_owned(),
            },
            tokenizer: self.tokenizer.fingerprint.clone(),
            chat_template: self.template_blake3.clone(),
            sections: serde_json::to_value(&self.pipeline.sections).expect("markers and names serialize"),
            entries: self.pipeline.cache.entries(),
            precision: self.pipeline.cache.precision,
            codec: CODEC_VERSION,
        })
    }
}
