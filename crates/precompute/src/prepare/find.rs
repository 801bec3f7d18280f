//! Finding the prepared corpus, or getting the right to make or extend it: one process prepares a cache at a time.

use std::io;

use leadspan_cache::{Cache, CacheError, Identity};
use leadspan_corpus::FileFingerprint;
use leadspan_workers::{Awaited, Lock, LockGuard, Pauses};

use super::{Preparation, PreparedCache};
use crate::{Event, Origin, PrecomputeError, Provenance, provenance::SettingChange, stamp::Maker, undo::Before};

/// The names of the values of an identity that come from a server's answers begin with this.
const ANSWERS: &str = "teacher.server.answers.";

/// The result of looking for the prepared corpus.
enum FoundOrLocked {
    /// The corpus is there, and nothing is left to do.
    Found(PreparedCache),
    /// The corpus must be made or extended by the holder of the lock.
    Locked(Cache, LockGuard),
}

impl Preparation<'_> {
    /// Finds, makes or extends the prepared corpus. `maker` is the command, for those that rely on its hashes later.
    pub(crate) fn prepare(
        &self,
        maker: Maker,
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let weights = self.weights_hash()?;
        let files = self.fingerprints()?;
        let identity = self.identity_with(weights.as_ref())?;
        self.check_cache_there(&identity, maker, events)?;
        let prepared = match self.find_or_make(&identity, &files, events) {
            // Another worker made the cache meanwhile, with answers of the same server that differ by rounding.
            Err(PrecomputeError::Cache(CacheError::IdentityMismatch { field, .. })) if field.starts_with(ANSWERS) => {
                let identity = self.identity_with(weights.as_ref())?;
                self.find_or_make(&identity, &files, events)?
            }
            prepared => prepared?,
        };
        if let Some(weights) = &weights {
            weights.remember(prepared.cache.dir(), maker);
        }
        self.data_hashes.remember(prepared.cache.dir(), maker);
        if !self.ends_turns && prepared.origin != Origin::Found {
            events(Event::NoEndOfTurn);
        }
        events(Event::Prepared {
            report: prepared.report.clone(),
            origin: prepared.origin,
        });
        Ok(prepared)
    }

    /// Compares the tokenizer's files in a cache that is there already with their hashes, and writes those that are missing
    /// anew. `prepare` also compares the tokens, which a worker reads later. A cache that cannot be opened, or is another one,
    /// is left to whoever opens it next.
    fn check_cache_there(
        &self,
        identity: &Identity,
        maker: Maker,
        events: &mut dyn FnMut(Event),
    ) -> Result<(), PrecomputeError> {
        let Ok(cache) = Cache::open(&self.text.cache_dir()) else {
            return Ok(());
        };
        if cache.require_identity(identity).is_err() {
            return Ok(());
        }
        let restored = cache.restore_tokenizer(&self.tokenizer.files)?;
        if !restored.is_empty() {
            events(Event::TokenizerRestored(restored));
        }
        if maker == Maker::Prepare && cache.corpus()?.is_some() {
            cache.check_corpus()?;
        }
        Ok(())
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
        // This process still holds the lock, so it does not remove the cache of another.
        self.make_or_extend(cache, events)
            .inspect_err(|_| before.restore(identity))
    }

    /// Opens or creates the cache, and locks it unless it has a corpus of the same data. While another process holds the
    /// lock, checks from time to time whether that process has prepared the corpus or has died.
    fn find_or_lock(
        &self,
        identity: &Identity,
        files: &[FileFingerprint],
        events: &mut dyn FnMut(Event),
    ) -> Result<FoundOrLocked, PrecomputeError> {
        let dir = self.text.cache_dir();
        let mut waiting = |awaited: &Awaited| events(Event::WaitingForLock(awaited.clone()));
        let mut pauses = Pauses::default();
        let mut parts_seen = None;
        loop {
            let cache = Cache::create_or_open_telling(&dir, identity, &self.tokenizer.files, &mut waiting)?;
            // A corpus of other data is not read again until it has another part.
            let parts = Some(cache.count_corpus_parts()?);
            if parts != parts_seen {
                if let Some(found) = self.find(&cache, files)? {
                    return Ok(FoundOrLocked::Found(found));
                }
                parts_seen = parts;
            }
            let lock = match cache.lock_for_preparing() {
                Ok(Lock::Locked(lock)) => lock,
                Ok(Lock::Held(awaited)) => {
                    waiting(&awaited);
                    pauses.next();
                    continue;
                }
                // The process that made the cache has just failed and removed it.
                Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    pauses.next();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // The process that held the lock may have prepared the corpus, or failed and removed the cache.
            match Cache::open(&dir) {
                Ok(cache) => return Ok(FoundOrLocked::Locked(cache, lock)),
                Err(CacheError::NotACache { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The corpus of the cache, if it was prepared from the same data.
    ///
    /// # Errors
    ///
    /// [`PrecomputeError::SettingChanged`] if it was prepared with other settings; [`PrecomputeError::BeyondVocabulary`] if
    /// it has a token that the model does not know.
    pub(super) fn find(
        &self,
        cache: &Cache,
        files: &[FileFingerprint],
    ) -> Result<Option<PreparedCache>, PrecomputeError> {
        let Some(corpus) = cache.corpus()? else { return Ok(None) };
        let provenance = Provenance::of(&corpus, cache.dir())?;
        let (stored, asked) = (corpus.samples_per_shard(), self.samples_per_shard);
        let changed = provenance.changed_setting(&self.text.data).or_else(|| {
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
        // Whoever made the corpus checked this, but it may be a stranger's.
        for (index, sample) in corpus.samples().enumerate() {
            self.check_tokens(sample.id, &[corpus.largest_token(index)])?;
        }
        Ok((provenance.files == files).then(|| PreparedCache {
            cache: cache.clone(),
            corpus,
            report: provenance.report,
            origin: Origin::Found,
        }))
    }

    /// Makes or extends the corpus while this process holds the lock.
    fn make_or_extend(&self, cache: Cache, events: &mut dyn FnMut(Event)) -> Result<PreparedCache, PrecomputeError> {
        // The process that held the lock before may have read files that changed since.
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
}
