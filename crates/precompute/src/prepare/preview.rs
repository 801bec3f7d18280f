//! What preparing would find or make, in memory and without writing anything.

use leadspan_cache::{Cache, CacheError, PreparedCorpus};
use leadspan_corpus::{Known, PrepareProgress, PrepareReport, Sampled};
use leadspan_sequence::Sample;
use serde_json::Value;

use super::{
    Preparation,
    preparation::{Text, known_samples},
};
use crate::{Basis, PrecomputeError, Provenance};

/// The corpus that preparing would find or make.
pub(crate) struct Preview {
    /// The cache, if it exists.
    pub(crate) cache: Option<Cache>,
    pub(crate) corpus: PreparedCorpus,
    /// What became of the rows that were read.
    pub(crate) report: PrepareReport,
    pub(crate) basis: Basis,
}

impl Preparation<'_> {
    /// What [`prepare`](Self::prepare) would find or make. If the cache has no corpus, at most `sample_rows` rows are drawn
    /// from the data.
    ///
    /// Memory holds the samples of the drawn rows, or of all rows that were appended to the data since the corpus was
    /// prepared.
    ///
    /// # Errors
    ///
    /// Those of [`prepare`](Self::prepare) that do not come from writing.
    pub(crate) fn preview(
        &self,
        sample_rows: usize,
        progress: &dyn Fn(PrepareProgress),
    ) -> Result<Preview, PrecomputeError> {
        let cache = match Cache::open(&self.text.cache_dir()) {
            Ok(cache) => Some(cache),
            Err(CacheError::NotACache { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(cache) = &cache {
            self.require_identity(cache)?;
            if let Some(found) = self.find(cache, &self.fingerprints()?)? {
                return Ok(Preview {
                    cache: Some(found.cache),
                    corpus: found.corpus,
                    report: found.report,
                    basis: Basis::Prepared,
                });
            }
            if let Some(mut corpus) = cache.corpus()? {
                let Text {
                    base, data, sections, ..
                } = &self.text;
                let appended = leadspan_corpus::append(
                    base,
                    data,
                    sections,
                    &self.template,
                    &self.tokenizer.tokenizer,
                    Known {
                        samples: &known_samples(&corpus),
                        rules: Provenance::of(&corpus, cache.dir())?.rules,
                    },
                    progress,
                )?;
                self.check_vocabulary_of(&appended.samples)?;
                corpus.append(&appended.samples, &appended.row_hashes, Value::Null)?;
                let basis = Basis::Extended {
                    samples: appended.samples.len() as u64,
                };
                return Ok(Preview {
                    cache: Some(cache.clone()),
                    corpus,
                    report: appended.report,
                    basis,
                });
            }
        }
        let Text {
            base, data, sections, ..
        } = &self.text;
        let tokenizer = &self.tokenizer.tokenizer;
        let Sampled { prepared, rows, drawn } =
            leadspan_corpus::sample(base, data, sections, &self.template, tokenizer, sample_rows, progress)?;
        self.check_vocabulary_of(&prepared.samples)?;
        let corpus = PreparedCorpus::first(
            &prepared.samples,
            &prepared.row_hashes,
            self.samples_per_shard,
            Value::Null,
        )?;
        Ok(Preview {
            cache,
            corpus,
            report: prepared.report,
            basis: if drawn == rows {
                Basis::Read
            } else {
                Basis::Sampled { rows, drawn }
            },
        })
    }

    /// Refuses the first sample with a token that the model does not know.
    fn check_vocabulary_of(&self, samples: &[Sample]) -> Result<(), PrecomputeError> {
        samples
            .iter()
            .try_for_each(|sample| self.check_tokens(&sample.id, &sample.tokens))
    }
}
