//! Copying a cache into a store.

use std::{path::Path, sync::atomic::AtomicBool};

use crate::{Event, Opened, Outcome, Pushing, StoreError};

/// Copies the cache in `dir` into a store. `stop` is checked between pieces; `events` is called on this thread.
///
/// The cache may be incomplete, and may be captured meanwhile: what is committed when the call begins is copied.
///
/// # Errors
///
/// [`StoreError::NotACache`] if `dir` has none; [`StoreError::OtherCache`] or [`StoreError::Foreign`] if the store has something
/// else; [`StoreError::Damaged`] if a file here is not the one that its receipt describes; the error of a store that refuses or
/// does not answer, or of a file here.
pub fn push(
    opened: &Opened,
    dir: &Path,
    stop: &AtomicBool,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, StoreError> {
    match Pushing::begin(opened, dir) {
        Ok(pushing) => pushing.all(stop, events),
        Err(StoreError::Stopped) => Ok(Outcome::Stopped),
        Err(error) => Err(error),
    }
}
