//! The prepared corpus of a cache: storing, extending and opening it.

use std::{num::NonZeroU32, path::PathBuf, sync::OnceLock};

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

/// The folder of the corpus, inside a cache's folder.
const CORPUS: &str = "corpus";

impl Cache {
    pub(super) fn corpus_dir(&self) -> PathBuf {
        self.dir().join(CORPUS)
    }

    /// The number of parts that the prepared corpus has on disk now, even if this handle has read fewer.
    ///
    /// # Errors
    ///
    /// [`CacheError::Io`] if its folder cannot be read.
    pub fn count_corpus_parts(&self) -> Result<usize, CacheError> {
        count_parts(&self.corpus_dir())
    }

    /// Stores the prepared corpus: `samples` in their final order, training samples first, and one hash for each row.
    ///
    /// `provenance` says how the corpus was prepared. It is stored as it is.
    ///
    /// # Errors
    ///
    /// [`CacheError::AlreadyPrepared`] if the cache has a corpus; [`CacheError::UnstorableCorpus`] if samples and
    /// hashes differ in number, a sample's tokens and sections differ in length, or the order is wrong;
    /// [`CacheError::Io`] if the file system refuses.
    pub fn write_corpus(
        &self,
        samples: &[Sample],
        row_hashes: &[[u8; 32]],
        samples_per_shard: NonZeroU32,
        provenance: Value,
    ) -> Result<PreparedCorpus, CacheError> {
        self.require_unprepared()?;
        check_samples(0, samples, row_hashes)?;
        let splits: Vec<Split> = samples.iter().map(|sample| sample.split).collect();
        self.write_corpus_with(&splits, samples_per_shard, provenance, &mut |writer| {
            push_all(writer, samples, row_hashes)
        })
    }

    /// Like [`write_corpus`](Self::write_corpus), without holding all samples in memory: `fill` pushes one sample for
    /// each of `splits`, in this order.
    ///
    /// # Errors
    ///
    /// Those of [`write_corpus`](Self::write_corpus) and of `fill`.
    pub fn write_corpus_with(
        &self,
        splits: &[Split],
        samples_per_shard: NonZeroU32,
        provenance: Value,
        fill: &mut dyn FnMut(&mut CorpusWriter) -> Result<(), CacheError>,
    ) -> Result<PreparedCorpus, CacheError> {
        self.require_unprepared()?;
        let units = plan_units(&[], splits.iter().copied(), samples_per_shard)?;
        let part = NewPart {
            number: 0,
            units: &units,
            samples_per_shard,
            provenance,
        };
        let folder = self.corpus_dir();
        create_folder(&folder)?;
        parts::write_part(&folder, part, fill)?;
        self.require_corpus()
    }

    /// Appends a part to the prepared corpus: `samples` in their final order, training samples first, and one hash for
    /// each row.
    ///
    /// They form work units of their own, so no stored shard changes. A part without samples only records a new
    /// `provenance`. Hold the [lock for preparing](Self::lock_for_preparing) and use a handle that was opened under it.
    /// Other handles still see the corpus as they have read it.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] if the cache has no corpus; [`CacheError::UnstorableCorpus`] as for
    /// [`write_corpus`](Self::write_corpus), or if another process has appended a part since this handle read the
    /// corpus; [`CacheError::Io`] if the file system refuses. An error leaves the corpus as it was.
    pub fn extend_corpus(
        &mut self,
        samples: &[Sample],
        row_hashes: &[[u8; 32]],
        provenance: Value,
    ) -> Result<PreparedCorpus, CacheError> {
        check_samples(self.require_corpus()?.len(), samples, row_hashes)?;
        let splits: Vec<Split> = samples.iter().map(|sample| sample.split).collect();
        self.extend_corpus_with(&splits, provenance, &mut |writer| push_all(writer, samples, row_hashes))
    }

    /// Like [`extend_corpus`](Self::extend_corpus), without holding all samples in memory: `fill` pushes one sample for
    /// each of `splits`, in this order.
    ///
    /// # Errors
    ///
    /// Those of [`extend_corpus`](Self::extend_corpus) and of `fill`.
    pub fn extend_corpus_with(
        &mut self,
        splits: &[Split],
        provenance: Value,
        fill: &mut dyn FnMut(&mut CorpusWriter) -> Result<(), CacheError>,
    ) -> Result<PreparedCorpus, CacheError> {
        let corpus = self.require_corpus()?;
        // The next call reads the corpus again, whether this one succeeds or fails.
        self.corpus = OnceLock::new();
        let folder = self.corpus_dir();
        let (known, there) = (corpus.parts().len(), count_parts(&folder)?);
        if known != there {
            let problem = format!("it has {there} parts now, but {known} when it was read");
            return Err(CacheError::UnstorableCorpus { problem });
        }
        let samples_per_shard = corpus.samples_per_shard();
        let units = plan_units(corpus.units(), splits.iter().copied(), samples_per_shard)?;
        let part = NewPart {
            number: known,
            units: &units,
            samples_per_shard,
            provenance,
        };
        parts::write_part(&folder, part, fill)?;
        self.require_corpus()
    }

    /// blake3 of the description of each part on disk, in order.
    pub(crate) fn part_hashes(&self) -> Result<Vec<String>, CacheError> {
        parts::hashes(&self.corpus_dir())
    }

    fn require_unprepared(&self) -> Result<(), CacheError> {
        match self.corpus()? {
            None => Ok(()),
            Some(_) => Err(CacheError::AlreadyPrepared {
                path: self.dir().to_owned(),
            }),
        }
    }

    /// Compares the files of the prepared corpus with their hashes, byte by byte.
    ///
    /// # Errors
    ///
    /// The error of the first file that is missing or damaged; [`CacheError::NotPrepared`] if there is no corpus.
    pub fn check_corpus(&self) -> Result<(), CacheError> {
        self.verify_tokens()?.into_iter().next().map_or(Ok(()), Err)
    }

    /// Compares the tokens of the prepared corpus with their checksums.
    pub(crate) fn verify_tokens(&self) -> Result<Vec<CacheError>, CacheError> {
        let corpus = self.require_corpus()?;
        Ok(parts::verify_tokens(&self.corpus_dir(), &corpus))
    }

    /// The prepared corpus, or `None` if none is stored yet. The first call opens it; later ones return the same.
    ///
    /// # Errors
    ///
    /// The error of a file that is damaged or cannot be read. The tokens are not read yet.
    pub fn corpus(&self) -> Result<Option<PreparedCorpus>, CacheError> {
        if let Some(corpus) = self.corpus.get() {
            return Ok(Some(corpus.clone()));
        }
        let read = parts::read(&self.corpus_dir(), self.listed_parts.as_ref())?;
        Ok(read.map(|corpus| self.corpus.get_or_init(|| corpus).clone()))
    }

    /// The prepared corpus.
    ///
    /// # Errors
    ///
    /// [`CacheError::NotPrepared`] if the cache has none, and the errors of [`corpus`](Self::corpus).
    pub fn require_corpus(&self) -> Result<PreparedCorpus, CacheError> {
        self.corpus()?.ok_or_else(|| CacheError::NotPrepared {
            path: self.dir().to_owned(),
        })
    }

    /// The index of the sample with this id.
    ///
    /// # Errors
    ///
    /// [`CacheError::UnknownSample`] if no sample has it, and the errors of [`require_corpus`](Self::require_corpus).
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

    /// How the newest part of the corpus was prepared, as the caller stated it; `None` if there is no corpus yet.
    ///
    /// # Errors
    ///
    /// Those of [`corpus`](Self::corpus).
    pub fn corpus_provenance(&self) -> Result<Option<Value>, CacheError> {
        Ok(self.corpus()?.map(|corpus| corpus.provenance().clone()))
    }
}

/// Pushes samples that are in memory.
fn push_all(writer: &mut CorpusWriter, samples: &[Sample], row_hashes: &[[u8; 32]]) -> Result<(), CacheError> {
    let mut rows = samples.iter().zip(row_hashes);
    rows.try_for_each(|(sample, row_hash)| writer.push(sample.into(), &sample.tokens, row_hash))
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
        assert_eq!(cache.corpus_provenance().unwrap(), Some("later".into()));
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
        assert!(refused(&samples, &hashes).contains("sample 7 is a training sample after"));

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
            other.corpus_provenance().unwrap(),
            Some("first".into()),
            "it is read again"
        );
    }
}
