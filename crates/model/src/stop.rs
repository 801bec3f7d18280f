//! Passes that are asked to stop: a flag of the caller is looked at before each layer, which costs nothing beside it.
//!
//! A pass of a large model on a CPU takes minutes, and whoever asks it to stop has seconds. What was computed until then is
//! lost; the same pass, done again, gives the same bits.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::ModelError;

/// The flag of passes that nobody stops.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// Goes on unless `stop` is set.
///
/// # Errors
///
/// [`ModelError::Stopped`] where it is.
pub(crate) fn unless(stop: &AtomicBool) -> Result<(), ModelError> {
    if stop.load(Ordering::Relaxed) {
        return Err(ModelError::Stopped);
    }
    Ok(())
}
