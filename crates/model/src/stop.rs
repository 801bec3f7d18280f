//! How a caller stops a pass early. Every pass checks the caller's flag before each layer, at negligible cost.
//!
//! On a CPU, a pass of a large model takes minutes, but a process that is asked to end has seconds. The work of a stopped
//! pass is lost. The same pass, run again, gives the same bits.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::ModelError;

/// When a pass stops early: as soon as a flag is set, or never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop<'a>(Option<&'a AtomicBool>);

impl<'a> Stop<'a> {
    /// The pass runs to its end.
    pub const NEVER: Self = Self(None);

    /// The pass stops as soon as `flag` is set.
    pub const fn when(flag: &'a AtomicBool) -> Self {
        Self(Some(flag))
    }

    /// Whether the flag is set.
    pub fn is_requested(self) -> bool {
        self.0.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Ends the pass with an error if the flag is set.
    ///
    /// # Errors
    ///
    /// [`ModelError::Stopped`] if it is.
    pub fn check(self) -> Result<(), ModelError> {
        if self.is_requested() {
            return Err(ModelError::Stopped);
        }
        Ok(())
    }
}
