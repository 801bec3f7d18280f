//! Making the cache and the prepared corpus in it; afterwards, making sure that both are still what is asked for, and
//! putting the samples of appended rows behind those that are there.

mod look;

use std::{
    cell::RefCell,
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use leadspan_cache::{CODEC_VERSION, Cache, CacheError, Identity, PreparedCorpus, TeacherIdentity};
use leadspan_corpus::{
    Appended, ChatTemplate, CorpusError, DataSettings, FileFingerprint, KnownSample, PrepareProgress, PrepareReport,
    SectionSettings, files_fingerprint, input_files,
};
use leadspan_model::{DecoderConfig, ModelError, ModelSource, StoredDtype, TokenizerBundle};
use leadspan_sequence::Sample;
use leadspan_workers::{Holder, Lock, LockGuard, Pauses};
use serde_json::Value;

use crate::{
    CacheSettings, Event, Origin, Pipeline, PrecomputeError, Provenance, TextPipeline, provenance::SettingChange,
    undo::Before, weights,
};

pub(crate) use self::look::Looked;

/// A cache that holds its prepared corpus.
#[derive(Clone, Debug)]
pub struct PreparedCache {
    /// The cache.
    pub cache: Cache,
    /// The corpus in it.
    pub corpus: PreparedCorpus,
    /// What became of the rows.
    pub report: PrepareReport,
    /// How the corpus came there.
    pub origin: Origin,
}

/// Makes the cache and the prepared corpus in it, or finds them there and makes sure that they are what is asked for.
///
/// Where the files of the data have changed since, every sample of the corpus must still come out of them as it is; the
/// samples of appended rows are put behind them, all for training. Processes that do so at the same time wait for each
/// other, and one of them does the work.
///
/// # Errors
///
/// Where the model, its chat template or the data cannot be used, where the cache was made with others, where a row was
/// changed or removed since, and where the cache cannot be written. A cache that this call made is then removed again;
/// one that was there before is as it was.
pub fn prepare(pipeline: &Pipeline, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
    let source = ModelSource::open(&pipeline.model_path())?;
    Preparation::new(pipeline, &source)?.prepare(events)
}

/// As [`prepare`], where no teacher will ever be run: the model only lends its tokenizer and chat template.
///
/// # Errors
///
/// As [`prepare`].
pub fn prepare_text(pipeline: &TextPipeline, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
    let path = pipeline.base.join(&pipeline.tokenizer);
    // A folder of a tokenizer alone is no model, and says nothing of a context.
    let bare = path.is_dir() && !path.join("config.json").is_file();
    let source = if bare { None } else { Some(ModelSource::open(&path)?) };
    let tokenizer = || match &source {
        Some(source) => source.tokenizer(),
        None => TokenizerBundle::from_dir(&path),
    };
    let text = Text {
        base: &pipeline.base,
        data: &pipeline.data,
        sections: &pipeline.sections,
        cache: &pipeline.cache,
        model: path.clone(),
        config: source.as_ref().map(ModelSource::config),
    };
    Preparation::of_text(text, tokenizer, None)?.prepare(events)
}

/// Everything that can be known to be right before anything expensive is done or anything is written.
pub(crate) struct Preparation<'a> {
    text: Text<'a>,
    teacher: Option<(&'a ModelSource, StoredDtype)>,
    tokenizer: TokenizerBundle,
    template: ChatTemplate,
    template_blake3: String,
    samples_per_shard: NonZeroU32,
}

/// What becomes a corpus, and where.
struct Text<'a> {
    base: &'a Path,
    data: &'a DataSettings,
    sections: &'a SectionSettings,
    cache: &'a CacheSettings,
    /// Whose tokenizer it is.
    model: PathBuf,
    /// Its architecture, which bounds samples and tokens.
    config: Option<&'a DecoderConfig>,
}

/// What looking for the prepared corpus comes to.
enum FoundOrLocked {
    /// It is there, and nothing is left to do.
    Found(PreparedCache),
    /// It must be made or extended, by whoever holds the lock.
    Locked(Cache, LockGuard),
}

impl Text<'_> {
    fn cache_dir(&self) -> PathBuf {
        self.base.join(&self.cache.dir)
    }

    /// Refuses what can be seen to be wrong without reading a row; how many samples a work unit has.
    fn check(&self) -> Result<NonZeroU32, PrecomputeError> {
        self.cache.check()?;
        let max_tokens = self.data.max_tokens;
        if let Some(context) = self.config.map(DecoderConfig::context)
            && max_tokens > context
        {
            let model = self.model.clone();
            return Err(PrecomputeError::BeyondContext {
                max_tokens,
                context,
                model,
            });
        }
        input_files(self.base, self.data)?;
        NonZeroU32::new(self.cache.samples_per_shard).ok_or(PrecomputeError::ZeroSetting {
            key: "cache.samples_per_shard",
        })
    }
}

impl<'a> Preparation<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, source: &'a ModelSource) -> Result<Self, PrecomputeError> {
        let text = Text {
            base: &pipeline.base,
            data: &pipeline.data,
            sections: &pipeline.sections,
            cache: &pipeline.cache,
            model: source.path().to_owned(),
            config: Some(source.config()),
        };
        let teacher = (source, pipeline.teacher.dtype);
        Self::of_text(text, || source.tokenizer(), Some(teacher))
    }

    fn of_text(
        text: Text<'a>,
        tokenizer: impl FnOnce() -> Result<TokenizerBundle, ModelError>,
        teacher: Option<(&'a ModelSource, StoredDtype)>,
    ) -> Result<Self, PrecomputeError> {
        let samples_per_shard = text.check()?;
        let tokenizer = tokenizer()?;
        let jinja = tokenizer
            .chat_template
            .as_deref()
            .ok_or_else(|| PrecomputeError::NoChatTemplate {
                model: text.model.clone(),
            })?;
        let template = ChatTemplate::new(jinja, tokenizer.bos_token.as_deref(), tokenizer.eos_token.as_deref())?;
        let template_blake3 = blake3::hash(jinja.as_bytes()).to_hex().to_string();
        Ok(Self {
            text,
            teacher,
            tokenizer,
            template,
            template_blake3,
            samples_per_shard,
        })
    }

    /// Finds, makes or extends the prepared corpus.
    pub(crate) fn prepare(&self, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
        let identity = self.identity()?;
        let files = self.fingerprints()?;
        let prepared = self.find_or_make(&identity, &files, events)?;
        if let (Some((source, _)), Some(teacher)) = (self.teacher, &identity.teacher) {
            weights::remember(source, prepared.cache.dir(), &teacher.weights_blake3);
        }
        events(Event::Prepared {
            report: prepared.report.clone(),
            origin: prepared.origin,
        });
        Ok(prepared)
    }

    fn find_or_make(
        &self,
        identity: &Identity,
        files: &[FileFingerprint],
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let before = Before::look(&self.text.cache_dir());
        let (cache, _lock) = match self
            .find_or_lock(identity, files, events)
            .inspect_err(|_| before.restore(identity))?
        {
            FoundOrLocked::Found(found) => return Ok(found),
            FoundOrLocked::Locked(cache, lock) => (cache, lock),
        };
        // The lock is still held here, so nobody else's cache is taken back.
        self.make_or_extend(cache, events)
            .inspect_err(|_| before.restore(identity))
    }

    /// Opens or creates the cache, and locks it unless its corpus is there and of the same data. While another process has
    /// locked it, looks now and then whether that has prepared it, or has died.
    fn find_or_lock(
        &self,
        identity: &Identity,
        files: &[FileFingerprint],
        events: &mut dyn FnMut(Event),
    ) -> Result<FoundOrLocked, PrecomputeError> {
        let dir = self.text.cache_dir();
        let mut waiting = |holder: &Holder| events(Event::WaitingForPreparation(holder.clone()));
        let mut pauses = Pauses::default();
        let mut parts_seen = None;
        loop {
            let cache = Cache::create_or_open_telling(&dir, identity, &self.tokenizer.files, &mut waiting)?;
            // A corpus that was read and is of other data need not be read again before it is extended.
            let parts = Some(cache.count_corpus_parts()?);
            if parts != parts_seen {
                if let Some(found) = self.find(&cache, files)? {
                    return Ok(FoundOrLocked::Found(found));
                }
                parts_seen = parts;
            }
            let lock = match cache.lock_for_preparing() {
                Ok(Lock::Locked(lock)) => lock,
                Ok(Lock::Held(holder)) => {
                    waiting(&holder);
                    pauses.next();
                    continue;
                }
                // Whoever made the cache has failed and taken it back just now.
                Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    pauses.next();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // Whoever held the lock until now may have prepared the corpus, or failed and taken the cache back.
            match Cache::open(&dir) {
                Ok(cache) => return Ok(FoundOrLocked::Locked(cache, lock)),
                Err(CacheError::NotACache { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The corpus that is there, if it is of the very same data.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::SettingChanged`] where it is there, but not with these settings.
    fn find(&self, cache: &Cache, files: &[FileFingerprint]) -> Result<Option<PreparedCache>, PrecomputeError> {
        let Some(corpus) = cache.corpus()? else { return Ok(None) };
        let provenance = Provenance::of(&corpus, cache.dir())?;
        let (stored, asked) = (corpus.samples_per_shard(), self.samples_per_shard);
        let changed = provenance.changed_setting(self.text.data).or_else(|| {
            (stored != asked).then(|| SettingChange {
                key: "cache.samples_per_shard".to_owned(),
                stored: stored.to_string(),
                asked: asked.to_string(),
            })
        });
        if let Some(SettingChange { key, stored, asked }) = changed {
            return Err(PrecomputeError::SettingChanged {
                cache: cache.dir().to_owned(),
                key,
                stored,
                asked,
            });
        }
        Ok((provenance.files == files).then(|| PreparedCache {
            cache: cache.clone(),
            corpus,
            report: provenance.report,
            origin: Origin::Found,
        }))
    }

    /// Does what is left to do now that nobody else can.
    fn make_or_extend(&self, cache: Cache, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
        // Not those of before the lock: whoever held it until now may have read other files since.
        let files = self.fingerprints()?;
        if let Some(found) = self.find(&cache, &files)? {
            return Ok(found);
        }
        if cache.corpus()?.is_some() {
            self.extend(cache, files, events)
        } else {
            self.make(cache, files, events)
        }
    }

    fn make(
        &self,
        cache: Cache,
        files: Vec<FileFingerprint>,
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let Text {
            base, data, sections, ..
        } = self.text;
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
        let corpus = cache.write_corpus(
            &prepared.samples,
            &prepared.row_hashes,
            self.samples_per_shard,
            self.provenance(files, &report),
        )?;
        Ok(PreparedCache {
            cache,
            corpus,
            report,
            origin: Origin::Made,
        })
    }

    /// Puts the samples of appended rows behind those of the cache, whose settings were found to be the same.
    ///
    /// Where there are none, as after a file was renamed, the new part only says which files hold the samples now: the
    /// next process need not read them all again to find that out.
    fn extend(
        &self,
        mut cache: Cache,
        files: Vec<FileFingerprint>,
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let events = RefCell::new(events);
        let appended = self.appended(&cache.require_corpus()?, &|progress| {
            events.borrow_mut()(Event::Preparing(progress));
        })?;
        self.check_vocabulary(&appended.samples)?;
        let report = appended.report;
        let corpus = cache.extend_corpus(&appended.samples, &appended.row_hashes, self.provenance(files, &report))?;
        let part = corpus.newest_part();
        let origin = Origin::Extended {
            samples: part.samples.len() as u64,
            units: part.units.len() as u64,
        };
        Ok(PreparedCache {
            cache,
            corpus,
            report,
            origin,
        })
    }

    /// The samples of rows that were appended since `corpus` was prepared.
    fn appended(&self, corpus: &PreparedCorpus, progress: &dyn Fn(PrepareProgress)) -> Result<Appended, CorpusError> {
        let Text {
            base, data, sections, ..
        } = self.text;
        let known: Vec<KnownSample<'_>> = corpus
            .samples()
            .enumerate()
            .map(|(index, sample)| KnownSample {
                id: sample.id,
                split: sample.split,
                row_hash: corpus.row_hash(index),
            })
            .collect();
        leadspan_corpus::append(
            base,
            data,
            sections,
            &self.template,
            &self.tokenizer.tokenizer,
            &known,
            progress,
        )
    }

    /// The files of the data as they are now.
    fn fingerprints(&self) -> Result<Vec<FileFingerprint>, PrecomputeError> {
        let Text { base, data, .. } = self.text;
        Ok(files_fingerprint(base, &input_files(base, data)?)?)
    }

    fn provenance(&self, files: Vec<FileFingerprint>, report: &PrepareReport) -> Value {
        let provenance = Provenance {
            data: self.text.data.clone(),
            files,
            report: report.clone(),
        };
        provenance.to_value()
    }

    fn check_vocabulary(&self, samples: &[Sample]) -> Result<(), PrecomputeError> {
        let Some(config) = self.text.config else {
            return Ok(());
        };
        let vocabulary = config.vocab_size;
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
                model: self.text.model.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Makes sure that a cache was made with what the pipeline names.
    pub(crate) fn require_identity(&self, cache: &Cache) -> Result<(), PrecomputeError> {
        Ok(cache.require_identity(&self.identity()?)?)
    }

    /// What must agree for stored distributions to mean the same. Reads all of the weights, unless their hash is remembered.
    fn identity(&self) -> Result<Identity, PrecomputeError> {
        let teacher = |(source, _): (&ModelSource, StoredDtype)| weights::fingerprint(source, &self.text.cache_dir());
        Ok(self.identity_with(self.teacher.map(teacher).transpose()?.unwrap_or_default()))
    }

    /// The identity, given the hash of the teacher's weights, if there is a teacher.
    pub(crate) fn identity_with(&self, weights_blake3: String) -> Identity {
        Identity {
            teacher: self.teacher.map(|(source, dtype)| TeacherIdentity {
                config_blake3: source.config_fingerprint(),
                weights_blake3,
                dtype: dtype.as_str().to_owned(),
            }),
            tokenizer: self.tokenizer.fingerprint.clone(),
            chat_template: self.template_blake3.clone(),
            sections: serde_json::to_value(self.text.sections).expect("markers and names serialize"),
            entries: self.text.cache.entries(),
            precision: self.text.cache.precision,
            codec: CODEC_VERSION,
        }
    }
}
