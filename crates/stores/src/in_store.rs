//! Errors of a cache in a store of which a part lies here, in the hidden folder of a cut: they name its files in the store.

use std::{io, path::Path};

use leadspan_cache::CacheError;
use leadspan_diagnosis::Diagnosis as _;

use crate::{StoreError, error::MEND_STORE};

/// The error of the cache in the store at `url`, of which a part lies in the folder `frame`. An error of another folder stays what it is.
pub(crate) fn in_store(error: CacheError, frame: &Path, url: &str) -> StoreError {
    let frame = frame.display().to_string();
    if error.is_unexpected() || !error.to_string().contains(&frame) {
        return error.into();
    }
    let hint = if is_damage(&error) {
        Some(MEND_STORE.to_owned())
    } else {
        error.hint().map(|hint| hint.replace(&frame, url))
    };
    StoreError::InStore {
        problem: error.to_string().replace(&frame, url),
        hint,
        error: Box::new(error),
    }
}

/// Whether the cache is damaged or lacks something, so that a copy of it mends it.
fn is_damage(error: &CacheError) -> bool {
    matches!(
        error,
        CacheError::NotAShard { .. }
            | CacheError::StrayShard { .. }
            | CacheError::WrongSize { .. }
            | CacheError::Damaged { .. }
            | CacheError::ForeignShard { .. }
            | CacheError::Unlisted { .. }
            | CacheError::Inconsistent { .. }
            | CacheError::NotDistributions { .. }
            | CacheError::BadJson { .. }
            | CacheError::MissingPart { .. }
            | CacheError::ForeignPart { .. }
            | CacheError::IncompleteLayer { .. }
            | CacheError::NotPrepared { .. }
            | CacheError::NothingCaptured { .. }
    ) || matches!(error, CacheError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
