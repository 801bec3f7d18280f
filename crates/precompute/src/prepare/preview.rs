//! What preparing would find or make, without writing anything.

use leadspan_cache::{Cache, CacheError, PreparedCorpus};
use leadspan_corpus::{PrepareProgress, PrepareReport, Sampled};
use serde_json::Value;

use super::{Preparation, Text};
use crate::{Basis, PrecomputeError};

/// What preparing would come to.
pub(crate) struct Looked {
    /// The cache, where there is one.
    pub(crate) cache: Option<Cache>,
    pub(crate) corpus: PreparedCorpus,
    /// What became of the rows that were read.
    pub(crate) report: PrepareReport,
    pub(crate) basis: Basis,
}

impl Preparation<'_> {
    /// What [`prepare`](Self::prepare) would find or make, in memory and without writing anything; of rows that were never
    /// prepared, so many are drawn.
    pub(crate) fn look(
        &self,
        sample_rows: usize,
        progress: &dyn Fn(PrepareProgress),
    ) -> Result<Looked, PrecomputeError> {
        let cache = match Cache::open(&self.text.cache_dir()) {
            Ok(cache) => Some(cache),
            Err(CacheError::NotACache { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(cache) = &cache {
            self.require_identity(cache)?;
            if let Some(found) = self.find(cache, &self.fingerprints()?)? {
                return Ok(Looked {
                    cache: Some(found.cache),
                    corpus: found.corpus,
                    report: found.report,
                    basis: Basis::Prepared,
                });
            }
            if let Some(mut corpus) = cache.corpus()? {
                let appended = self.appended(&corpus, progress)?;
                self.check_vocabulary(&appended.samples)?;
                corpus.append(&appended.samples, &appended.row_hashes, Value::Null)?;
                let basis = Basis::Extended {
                    samples: appended.samples.len() as u64,
                };
                return Ok(Looked {
                    cache: Some(cache.clone()),
                    corpus,
                    report: appended.report,
                    basis,
                });
            }
        }
        let Text {
            base, data, sections, ..
        } = self.text;
        let tokenizer = &self.tokenizer.tokenizer;
        let Sampled { prepared, rows, drawn } =
            leadspan_corpus::sample(base, data, sections, &self.template, tokenizer, sample_rows, progress)?;
        self.check_vocabulary(&prepared.samples)?;
        let corpus = PreparedCorpus::first(
            &prepared.samples,
            &prepared.row_hashes,
            self.samples_per_shard,
            Value::Null,
        )?;
        Ok(Looked {
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
}
