//! The prepared corpus that a cache holds: storing it, extending it, opening it.

use std::{num::NonZeroU32, sync::OnceLock};

use leadspan_files::create_folder;
use leadspan_sequence::{Sample, Split};
use serde_json::Value;

use super::{
    description::count_parts,
    files::CorpusWriter,
    parts::{self, NewPart},
    prepared::{PreparedCorpus, check_samples},
    work_unit::plan_units,
};
use crate::{Cache, CacheError};

/// The folder of the corpus, inside a cache's.
const CORPUS: &str = "corpus";

impl Cache {
    /// How many parts of the prepared corpus are there by now, whatever this handle has read.
    ///
    /// # Errors
    ///
    /// Where its folder cannot be read, or a part of it is missing.
    pub fn count_corpus_parts(&self) -> Result<usize, CacheError> {
        count_parts(&self.dir().join(CORPUS))
    }

    /// Stores the prepared corpus: `samples` in their final order, training samples first, one hash a row.
    ///
    /// `facts` is whatever the caller wants to find again beside it.
    ///
    /// # Errors
    ///
    /// [`CacheError::AlreadyPrepared`] where there is a corpus; [`CacheError::UnstorableCorpus`] where samples and
    /// hashes do not fit each other or the order is wrong; [`CacheError::Io`] where the file system refuses.
    pub fn write_corpus(
        &self,
        samples: &[Sample],
        row_hashes: &[[u8; 32]],
        samples_per_shard: NonZeroU32,
        facts: Value,
    ) -> Result<PreparedCorpus, CacheError> {
        if self.corpus()?.is_some() {
            return Err(CacheError::AlreadyPrepared {
                path: self.dir().to_owned(),
            });
        }
        check_samples(0, samples, row_hashes).map_err(|problem| CacheError::UnstorableCorpus { problem })?;
        let units = plan_units(&[], samples.iter().map(|sample| sample.split), samples_per_shard)?;
        let part = NewPart {
            number: 0,
            units: &units,
            samples_per_shard,
            facts,
        };
        create_folder(&self.dir().join(CORPUS))?;
        self.write_part(part, samples, row_hashes)?;
        self.require_corpus()
    }

    /// As [`write_corpus`](Self::write_corpus), of samples that need not be in memory together: `fill` pushes one for each
    /// of `splits`, in this order.
    ///
    /// # Errors
    ///
    /// As [`write_corpus`](Self::write_corpus), and what `fill` returns.
    pub fn write_corpus_with(
        &self,
        splits: &[Split],
        samples_per_shard: NonZeroU32,
        facts: Value,
        fill: &mut dyn FnMut(&mut CorpusWriter) -> Result<(), CacheError>,
    ) -> Result<PreparedCorpus, CacheError> {
        if self.corpus()?.is_some() {
            return Err(CacheError::AlreadyPrepared {
                path: self.dir().to_owned(),
            });
        }
        let units = plan_units(&[], splits.iter().copied(), samples_per_shard)?;
        let part = NewPart {
            number: 0,
            units: &units,
            samples_per_shard,
            facts,
        };
        let folder = self.dir().join(CORPUS);
        create_folder(&folder)?;
        parts::write_part(&folder, part, fill)?;
        self.require_corpus()
    }

    /// Puts a part behind the prepared corpus: `samples` in their final order, training samples first, one hash a row.
    ///
    /// They form work units of their own, so every stored shard stays what it was. There may be no samples at all: the
    /// part then only says that `facts` hold now. To be called while [preparing is locked](Self::lock_for_preparing), on
    /// a handle that was opened since. Other handles go on seeing the corpus as it was when they read it.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where there is no corpus; [`CacheError::UnstorableCorpus`] where samples and hashes do
    /// not fit each other, the order is wrong, or another process put a part there meanwhile; [`CacheError::Io`] where
    /// the file system refuses. The corpus is then what it was.
    pub fn extend_corpus(
        &mut self,
        samples: &[Sample],
        row_hashes: &[[u8; 32]],
        facts: Value,
    ) -> Result<PreparedCorpus, CacheError> {
        let corpus = self.require_corpus()?;
        // Whatever comes of this, the corpus is opened again.
        self.corpus = OnceLock::new();
        let folder = self.dir().join(CORPUS);
        let (known, there) = (corpus.parts().len(), count_parts(&folder)?);
        if known != there {
            let problem = format!("it has {there} parts by now where {known} were read");
            return Err(CacheError::UnstorableCorpus { problem });
        }
        check_samples(corpus.len(), samples, row_hashes).map_err(|problem| CacheError::UnstorableCorpus { problem })?;
        let samples_per_shard = corpus.samples_per_shard();
        let units = plan_units(
            corpus.units(),
            samples.iter().map(|sample| sample.split),
            samples_per_shard,
        )?;
        let part = NewPart {
            number: known,
            units: &units,
            samples_per_shard,
            facts,
        };
        self.write_part(part, samples, row_hashes)?;
        self.require_corpus()
    }

    fn write_part(&self, part: NewPart<'_>, samples: &[Sample], row_hashes: &[[u8; 32]]) -> Result<(), CacheError> {
        let folder = self.dir().join(CORPUS);
        parts::write_part(&folder, part, &mut |files| {
            let mut rows = samples.iter().zip(row_hashes);
            rows.try_for_each(|(sample, row_hash)| files.push(sample.into(), &sample.tokens, row_hash))
        })
    }

    /// Compares the tokens of the prepared corpus, which this handle has read, with their checksums.
    pub(crate) fn verify_tokens(&self) -> Result<Vec<CacheError>, CacheError> {
        let corpus = self.require_corpus()?;
        Ok(parts::verify_tokens(&self.dir().join(CORPUS), &corpus))
    }

    /// The prepared corpus, or `None` where none was stored yet. It is read once and then kept.
    ///
    /// # Errors
    ///
    /// Where its files are damaged or cannot be read. The tokens are not read yet.
    pub fn corpus(&self) -> Result<Option<PreparedCorpus>, CacheError> {
        if let Some(corpus) = self.corpus.get() {
            return Ok(Some(corpus.clone()));
        }
        let read = parts::read(&self.dir().join(CORPUS))?;
        Ok(read.map(|corpus| self.corpus.get_or_init(|| corpus).clone()))
    }

    /// The prepared corpus, which must be there.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] where it is not, beside the errors of [`corpus`](Self::corpus).
    pub fn require_corpus(&self) -> Result<PreparedCorpus, CacheError> {
        self.corpus()?.ok_or_else(|| CacheError::NotPrepared {
            path: self.dir().to_owned(),
        })
    }

    /// The index of the sample with this id.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnknownSample`] where there is none, beside the errors of [`require_corpus`](Self::require_corpus).
    pub fn find_sample(&self, id: &str) -> Result<u32, CacheError> {
        let corpus = self.require_corpus()?;
        let found = corpus.samples().position(|sample| sample.id == id);
        found
            .map(|index| index as u32)
            .ok_or_else(|| CacheError::UnknownSample {
                path: self.dir().to_owned(),
                id: id.to_owned(),
                first: corpus.samples().next().map(|sample| sample.id.to_owned()),
            })
    }

    /// What was stored beside the newest part of the corpus, or `None` where there is none yet.
    ///
    /// # Errors
    ///
    /// Those of [`corpus`](Self::corpus).
    pub fn prepared_facts(&self) -> Result<Option<Value>, CacheError> {
        Ok(self.corpus()?.map(|corpus| corpus.facts().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::synthetic;
    use leadspan_sequence::SectionSet;
    use std::fs;

    #[test]
    fn a_second_corpus_and_a_wrong_one_are_refused() {
        let synthetic = synthetic::prepared(4, 2, 2);
        let corpus = synthetic.cache.require_corpus().unwrap();
        let write = |cache: &Cache, samples: &[Sample], hashes: &[[u8; 32]]| {
            cache
                .write_corpus(samples, hashes, NonZeroU32::MIN, Value::Null)
                .unwrap_err()
        };
        let reopened = Cache::open(synthetic.cache.dir()).unwrap();
        let hashes = synthetic::row_hashes_of(&corpus);
        let error = write(&reopened, &synthetic::samples_of(&corpus), &hashes);
        assert!(matches!(error, CacheError::AlreadyPrepared { .. }));

        let folder = tempfile::tempdir().unwrap();
        let empty = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let mut samples = synthetic::samples_of(&corpus);
        assert!(write(&empty, &samples, &hashes[1..]).to_string().contains("row hashes"));
        samples[0].tokens.pop();
        assert!(
            write(&empty, &samples, &hashes)
                .to_string()
                .contains("its sections end at")
        );
        samples.reverse();
        assert!(matches!(
            write(&empty, &samples[1..], &hashes[1..]),
            CacheError::UnstorableCorpus { .. }
        ));
        assert!(empty.corpus().unwrap().is_none());
        assert!(matches!(
            empty.layer(&synthetic::coverage("1", SectionSet::ALL).into()),
            Err(CacheError::NotPrepared { .. })
        ));
    }

    #[test]
    fn an_extended_corpus_needs_only_its_new_units() {
        let captured = synthetic::captured("0.5", SectionSet::ALL);
        let mut cache = captured.cache.clone();
        let before = cache.require_corpus().unwrap();
        let samples = synthetic::appended(before.len(), 6);
        let hashes = synthetic::row_hashes(&samples);
        let extended = cache.extend_corpus(&samples, &hashes, "later".into()).unwrap();
        assert_eq!(cache.prepared_facts().unwrap(), Some("later".into()));
        assert_eq!(captured.cache.require_corpus().unwrap().len(), 14, "an older handle");

        let reopened = Cache::open(cache.dir()).unwrap();
        assert_eq!(
            synthetic::samples_of(&reopened.require_corpus().unwrap()),
            synthetic::samples_of(&extended)
        );
        let names = |cache: &Cache| {
            let missing = cache.layers().unwrap()[0].missing_units().unwrap();
            missing.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(&reopened), ["train-000003", "train-000004"]);
        synthetic::capture(&reopened, &synthetic::coverage("0.5", SectionSet::ALL).into());
        assert!(names(&reopened).is_empty());
        let verification = crate::verify(&reopened, &mut |_| {}).unwrap();
        assert!(verification.problems.is_empty(), "{:?}", verification.problems);
        let reader = crate::Reader::open_largest(&reopened, crate::Missing::Refused).unwrap();
        for index in 0..reader.corpus().len() as u32 {
            reader.span(index).unwrap();
        }
        let corpus = reopened.inspect().unwrap().corpus.unwrap();
        assert_eq!(
            (corpus.train_samples, corpus.validation_samples, corpus.units),
            (17, 3, 6)
        );
    }

    #[test]
    fn an_extension_that_cannot_be_stored_leaves_the_corpus_as_it_was() {
        let synthetic = synthetic::prepared(4, 2, 2);
        let mut cache = synthetic.cache.clone();
        let mut samples = synthetic::appended(6, 2);
        let hashes = synthetic::row_hashes(&samples);
        let mut refused = |samples: &[Sample], hashes: &[[u8; 32]]| {
            let error = cache.extend_corpus(samples, hashes, Value::Null).unwrap_err();
            assert_eq!(cache.require_corpus().unwrap().parts().len(), 1);
            assert_eq!(fs::read_dir(cache.dir().join(CORPUS)).unwrap().count(), 3);
            error.to_string()
        };
        assert!(refused(&samples, &hashes[1..]).contains("row hashes"));
        samples[0].split = leadspan_sequence::Split::Validation;
        assert!(refused(&samples, &hashes).contains("sample 7 is a training sample behind"));

        let folder = tempfile::tempdir().unwrap();
        let mut empty = Cache::create_or_open(folder.path(), &synthetic::identity(), &[]).unwrap();
        let error = empty.extend_corpus(&[], &[], Value::Null).unwrap_err();
        assert!(matches!(error, CacheError::NotPrepared { .. }), "{error}");
    }

    #[test]
    fn a_part_that_another_process_appended_is_never_overwritten() {
        let synthetic = synthetic::prepared(4, 2, 2);
        let (mut one, mut other) = (synthetic.cache.clone(), synthetic.cache.clone());
        one.extend_corpus(&[], &[], "first".into()).unwrap();
        let error = other.extend_corpus(&[], &[], "second".into()).unwrap_err();
        assert!(matches!(error, CacheError::UnstorableCorpus { .. }), "{error}");
        assert_eq!(
            other.prepared_facts().unwrap(),
            Some("first".into()),
            "it is read again"
        );
    }
}
