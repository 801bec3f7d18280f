//! Making the prepared corpus and extending it. Tokens go to a temporary file in the order of the rows, and from there to the
//! cache in their final order.

use std::cell::RefCell;

use leadspan_cache::Cache;
use leadspan_corpus::{Arrangement, FileFingerprint, Known, Place, RowRules};
use leadspan_sequence::Split;

use super::{
    Preparation, PreparedCache,
    preparation::{Text, known_samples},
    row_spool::{RowSpool, SpooledRows},
};
use crate::{Event, Origin, PrecomputeError, Provenance};

impl Preparation<'_> {
    /// Makes the corpus of a cache that has none.
    pub(super) fn make(
        &self,
        cache: Cache,
        files: Vec<FileFingerprint>,
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let Text {
            base, data, sections, ..
        } = &self.text;
        let events = RefCell::new(events);
        let mut spool = RowSpool::create_in(cache.dir())?;
        let Arrangement { places, report, .. } = leadspan_corpus::prepare_into(
            base,
            data,
            sections,
            &self.template,
            &self.tokenizer.tokenizer,
            &|progress| events.borrow_mut()(Event::Preparing(progress)),
            &mut |sample| Ok::<(), PrecomputeError>(spool.push(&sample)?),
        )?;
        let mut rows = spool.finish()?;
        self.check_vocabulary(&mut rows, &places)?;
        let corpus = cache.write_corpus_with(
            &splits(&places),
            self.samples_per_shard,
            self.provenance(files, &report, RowRules::CURRENT),
            &mut |writer| rows.write(&places, data.lead_span_column.as_deref(), writer),
        )?;
        Ok(PreparedCache {
            cache,
            corpus,
            report,
            origin: Origin::Made,
        })
    }

    /// Appends the samples of new rows to the corpus of a cache, whose settings were found to be the same.
    ///
    /// If there are none, for example because a file was only renamed, the new part only records the files of the data: the
    /// next process need not read them all again.
    pub(super) fn extend(
        &self,
        mut cache: Cache,
        files: Vec<FileFingerprint>,
        events: &mut dyn FnMut(Event),
    ) -> Result<PreparedCache, PrecomputeError> {
        let Text {
            base, data, sections, ..
        } = &self.text;
        let events = RefCell::new(events);
        let corpus = cache.require_corpus()?;
        let rules = Provenance::of(&corpus, cache.dir())?.rules;
        let mut spool = RowSpool::create_in(cache.dir())?;
        let Arrangement { places, report, .. } = leadspan_corpus::append_into(
            base,
            data,
            sections,
            &self.template,
            &self.tokenizer.tokenizer,
            Known {
                samples: &known_samples(&corpus),
                rules,
            },
            &|progress| events.borrow_mut()(Event::Preparing(progress)),
            &mut |sample| Ok::<(), PrecomputeError>(spool.push(&sample)?),
        )?;
        let mut rows = spool.finish()?;
        self.check_vocabulary(&mut rows, &places)?;
        let provenance = self.provenance(files, &report, rules);
        let column = data.lead_span_column.as_deref();
        let corpus = cache.extend_corpus_with(&splits(&places), provenance, &mut |writer| {
            rows.write(&places, column, writer)
        })?;
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

    /// Refuses the first sample, in the final order, with a token that the model does not know.
    fn check_vocabulary(&self, rows: &mut SpooledRows, places: &[Place]) -> Result<(), PrecomputeError> {
        for place in places {
            if !self.knows(rows.largest_token(place.sample)) {
                let sample = rows.read(place.sample)?;
                self.check_tokens(&sample.id, &sample.tokens)?;
            }
        }
        Ok(())
    }
}

fn splits(places: &[Place]) -> Vec<Split> {
    places.iter().map(|place| place.split).collect()
}
