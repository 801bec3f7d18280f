//! The sources of samples: the shards, with the teacher's distributions, or the prepared corpus alone.

use leadspan_cache::{Cache, CacheError, Coverage, Missing, Reader};
use leadspan_sequence::LeadSpanProportion;

use crate::{TrainError, TrainSettings};

/// The sources of training and validation samples.
pub(crate) struct Readers {
    training: Reader,
    /// The reader of validation samples, if it is another one.
    held_out: Option<Reader>,
}

impl Readers {
    /// With a distillation weight above 0, all samples are read with their distributions. Without one, training needs tokens
    /// alone, of any proportion and sections; validation samples are read with distributions if the cache has all of them.
    ///
    /// # Errors
    ///
    /// If the cache lacks what is needed, or cannot be read.
    pub(crate) fn open(cache: &Cache, settings: &TrainSettings, missing: Missing) -> Result<Self, TrainError> {
        let longest = settings.longest_coverage();
        let asked = longest.unwrap_or(Coverage {
            proportion: LeadSpanProportion::WHOLE,
            sections: settings.supervised_sections,
        });
        if settings.distils() {
            let training = if longest.is_some() {
                Reader::open(cache, asked, missing)
            } else {
                at_most(cache, asked, missing)
            };
            return Ok(Self {
                training: training?,
                held_out: None,
            });
        }
        Ok(Self {
            training: Reader::open_corpus(cache, asked)?,
            held_out: captured(cache, asked)?,
        })
    }

    /// The training samples.
    pub(crate) fn training(&self) -> &Reader {
        &self.training
    }

    /// The validation samples.
    pub(crate) fn held_out(&self) -> &Reader {
        self.held_out.as_ref().unwrap_or(&self.training)
    }
}

/// A reader of the sections asked for, at the captured proportion if that is smaller than the one asked for.
fn at_most(cache: &Cache, asked: Coverage, missing: Missing) -> Result<Reader, CacheError> {
    let open = |proportion| Reader::open(cache, Coverage { proportion, ..asked }, missing);
    match open(asked.proportion) {
        Err(CacheError::ProportionNotCaptured { largest, .. }) => open(largest),
        opened => opened,
    }
}

/// A reader of the sections asked for, at the captured proportion if that is smaller than the one asked for, because
/// validation samples are the same at all proportions. `None` if the cache lacks a part of them.
fn captured(cache: &Cache, asked: Coverage) -> Result<Option<Reader>, CacheError> {
    match at_most(cache, asked, Missing::Refused) {
        Ok(reader) => Ok(Some(reader)),
        Err(
            CacheError::NothingCaptured { .. }
            | CacheError::SectionsNotCaptured { .. }
            | CacheError::IncompleteLayer { .. },
        ) => Ok(None),
        Err(error) => Err(error),
    }
}
